"""Rows unlike the reference: one calibrated score per row."""
