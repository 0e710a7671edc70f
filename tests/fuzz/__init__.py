"""Broken requests by the thousand: how they are made, sent and judged."""
