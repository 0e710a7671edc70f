"""The feature contract of a model: describe it, infer it from rows, diff two of them."""
