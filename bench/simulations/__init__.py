"""Simulated worlds whose truth is known, for the figures in `bench/exploration.py`."""
