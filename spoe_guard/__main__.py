"""``python -m spoe_guard``: the same as ``spoe-guard``."""

from spoe_guard.cli import main

if __name__ == "__main__":
    main()
