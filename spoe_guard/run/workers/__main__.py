"""``python -m spoe_guard.run.workers DESCRIPTOR``: one worker. Its parent starts it; it is of no use by hand."""

import sys

from spoe_guard.run.workers.worker import main

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
