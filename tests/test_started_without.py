"""A guard that is started without what every process has: standard descriptors, or threads."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spoe_guard.threads import NO_THREAD
from tests.running import RUN_S, environment, until

WITHOUT = 'exec "$@" <&- >&- 2>&-'


@pytest.mark.parametrize(("loop", "workers"), [("uvloop", "1"), ("asyncio", "2")])
def test_closed_standard_descriptors_become_dev_null(tmp_path, loop, workers):
    places = ["--listen", f"unix:{tmp_path}/in", "--agent", f"unix:{tmp_path}/agent", "--admin", f"unix:{tmp_path}/admin"]
    command = ["sh", "-c", WITHOUT, "sh", sys.executable, "-m", "spoe_guard", "run", *places, "--workers", workers]
    with subprocess.Popen(command, env=environment({"SPOE_GUARD_LOOP": loop})) as process:
        try:
            until((tmp_path / "in").exists)
            until(lambda: len(_processes(process.pid)) == (1 if workers == "1" else 3))
            for pid in _processes(process.pid):
                until(lambda pid=pid: [_file(pid, number) for number in range(3)] == [os.devnull] * 3)
            process.send_signal(signal.SIGTERM)
            assert process.wait(RUN_S) == 0
        finally:
            process.kill()


def _processes(pid: int) -> list[int]:
    """The process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def _file(pid: int, number: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/fd/{number}").readlink())
    except OSError:
        return ""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_without_threads_the_start_fails_with_one_line(workers):
    """The default stack of a thread is as large as this limit, which no address space has room for."""

    def no_threads() -> None:
        resource.setrlimit(resource.RLIMIT_STACK, (1 << 47, resource.getrlimit(resource.RLIMIT_STACK)[1]))

    places = ["--listen", "127.0.0.1:0", "--agent", "localhost:9", "--admin", "127.0.0.1:0", "--workers", workers]
    done = subprocess.run(
        [sys.executable, "-m", "spoe_guard", "run", *places],
        env=environment(),
        preexec_fn=no_threads,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert (done.returncode, done.stderr, done.stdout) == (1, f"spoe-guard: {NO_THREAD}\n", "")
