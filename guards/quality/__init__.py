"""How good the answers were, and how sure we are of it."""
