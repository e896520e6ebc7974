"""What went over the wire, kept, written and read: the flight recorder, ``spoe-guard decode`` and ``spoe-guard replay``."""
