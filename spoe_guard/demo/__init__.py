"""``spoe-guard demo``: the complete demonstration in one terminal, on this machine, without leftovers."""

import asyncio
import contextlib
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from spoe_guard.demo import haproxy, no_haproxy, story
from spoe_guard.demo.child import Failed
from spoe_guard.demo.narration import Narrator

AS_TOLD: Final = 0
OTHERWISE: Final = 1
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SIGNALLED: Final = 128  # plus the signal's number, as in shells


def main() -> int:
    """Run the demo. Return 0 if it went as announced, 1 if not, 128 plus the signal's number if a signal interrupted it."""
    caught: list[signal.Signals] = []
    tell = Narrator()
    try:
        with _no_core_dumps():
            return asyncio.run(_main(tell, caught))
    except asyncio.CancelledError:
        tell.line()
        tell.line(f"{caught[0].name}: stopped. Nothing is left behind.")
        return _SIGNALLED + caught[0]
    except (Failed, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise  # the reader has closed the pipe
        print(f"spoe-guard demo: {error}", file=sys.stderr)
        return OTHERWISE


async def _main(tell: Narrator, caught: list[signal.Signals]) -> int:
    _cancel_on_signals(caught)
    began = time.monotonic()
    program = haproxy.find()
    with tempfile.TemporaryDirectory(prefix="spoe-guard-demo-") as folder:
        if isinstance(program, str):
            no_haproxy.introduce(program, tell)
            wrong = await no_haproxy.tell_story(Path(folder), tell)
        else:
            story.introduce(program, tell)
            wrong = await story.tell_story(program, Path(folder), tell)
    tell.line()
    for each in wrong:
        tell.say(each, "bad", mark="Not as told: ")
    tell.line(f"{time.monotonic() - began:.0f} s. Nothing is left behind.")
    return OTHERWISE if wrong else AS_TOLD


def _cancel_on_signals(caught: list[signal.Signals]) -> None:
    """Make the first signal cancel the demo, which then cleans up within milliseconds."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101  a coroutine asks
    wanted = {number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN}  # ignored under nohup

    def on_signal(number: signal.Signals) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, wanted)  # for good: an impatient second one must not cut the clean-up short
        if not caught:
            task.cancel()
        caught.append(number)

    for number in wanted:
        loop.add_signal_handler(number, on_signal, number)


@contextlib.contextmanager
def _no_core_dumps() -> Iterator[None]:
    """Disable core files and crash reports: the demo crashes HAProxy on purpose."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
