"""Rows in, scores out; what a bundle is.  Frameworks are imported lazily."""
