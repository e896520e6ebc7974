"""`spoe-guard lab agent` as its own process."""

import contextlib
import subprocess
import sys

from tests import forked
from tests.running import FREE, environment


@contextlib.contextmanager
def agent(*options, listen=FREE):
    """Start it; yield the process and where it listens."""
    command = [sys.executable, "-m", "spoe_guard", "lab", "agent", "--listen", listen, *options]
    with forked.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            said = process.stdout.readline()
            assert said.startswith("listening "), process.stderr.read()
            yield process, said.removeprefix("listening ").strip()
        finally:
            process.kill()
