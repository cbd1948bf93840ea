"""One file per pipeline, exporting SPEC: what a data scientist edits."""
