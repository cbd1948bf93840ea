"""Where a result came from: pins, identities of models, code and libraries."""
