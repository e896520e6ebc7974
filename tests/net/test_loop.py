"""The choice of the event loop, and its signals."""

import asyncio
import signal
import sys

import pytest

from spoe_guard.net.loop import VARIABLE, add_signal_handler, loop_name, remove_signal_handler, run


async def running():
    return type(asyncio.get_running_loop()).__module__


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def test_uvloop_is_the_default():
    assert loop_name() == "uvloop"
    assert run(running()).startswith("uvloop")


def test_asyncio_when_it_is_asked_for(monkeypatch):
    monkeypatch.setenv(VARIABLE, "asyncio")
    assert loop_name() == "asyncio"
    assert run(running()).startswith("asyncio")


def test_asyncio_where_uvloop_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_name() == "asyncio"
    assert run(running()).startswith("asyncio")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize(("number", "default"), [(signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)])
def test_a_removed_handler_leaves_the_default(monkeypatch, loop, number, default):
    monkeypatch.setenv(VARIABLE, loop)

    async def main() -> None:
        add_signal_handler(number, len, ())
        assert signal.getsignal(number) not in (signal.SIG_DFL, signal.default_int_handler)
        remove_signal_handler(number)
        assert signal.getsignal(number) is default

    run(main())
