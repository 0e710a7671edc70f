"""One record per request, and everything that is derived from it."""
