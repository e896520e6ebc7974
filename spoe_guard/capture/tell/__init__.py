"""``spoe-guard decode`` and ``replay``."""
