"""A request inside its model's replica."""
