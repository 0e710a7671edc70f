"""Randomised choices whose propensities are exact."""
