"""``python -m tests.uncollected REPORT ... spoe_guard ARGUMENTS``: ``spoe-guard ARGUMENTS`` in which no garbage is collected.

On SIGUSR1 REPORT gets a line of JSON with what only the collector could free: how many objects of each of the guard's own types.
"""

import asyncio
import gc
import json
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from spoe_guard import cli, collector
from spoe_guard.run.process import Process
from tests.garbage import left


def main() -> None:
    report = Path(sys.argv[1]).open("a", buffering=1)  # noqa: SIM115  as long as the process
    start = Process.start

    async def watched(process: Process, *arguments: Any) -> None:
        await start(process, *arguments)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, lambda: report.write(f"{json.dumps(left())}\n"))

    Process.start = watched  # type: ignore[method-assign, assignment]
    collector.gc = SimpleNamespace(**{**vars(gc), "collect": lambda *_: 0})  # type: ignore[assignment]
    gc.disable()
    sys.argv[1:] = sys.argv[sys.argv.index("spoe_guard") + 1 :]
    cli.main()


if __name__ == "__main__":
    main()
