"""Drift: mergeable counts, bets on them with exact bounds, alarms with a stated run length."""
