"""Which versions exist, in which state, and the table that routes to them."""
