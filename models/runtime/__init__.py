"""What can run a model: one file per kind, one protocol."""
