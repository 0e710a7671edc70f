"""What is tried on a model and its guards before they serve."""
