"""Judgement on arrays: pure numpy, no Ray, no HTTP, no clock, no I/O."""
