"""The choice of the event loop."""

import asyncio
import sys

import pytest

from spoe_guard.net.loop import VARIABLE, loop_name, run


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
