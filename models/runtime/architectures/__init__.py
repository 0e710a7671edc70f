"""Networks that weights alone bring to life: one pair of files each, listed in `catalog`."""
