"""Which model version scores: versions, the gate, and the decisions."""
