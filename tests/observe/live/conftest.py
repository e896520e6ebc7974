"""Serves a scene with the real admin code in its own thread, and drives Debian's Chromium."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any, Self
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, sync_playwright

from spoe_guard.observe.admin import Admin
from spoe_guard.observe.metrics import Exposition, GuardMetrics
from tests.observe.conftest import Lines
from tests.observe.live.scenes import ALL, BUILD, Scene
from tests.peers import need

OPEN_ALL = "document.querySelectorAll('details').forEach((each) => { each.open = true; })"


class Served:
    """An admin address for one scene after another. What a test changes in a scene it changes between two requests."""

    def __init__(self) -> None:
        self.scene = Scene(Lines().log(level="error"))
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self.sock.getsockname())
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="admin")
        self._admin: Admin | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def show(self, scene: Scene) -> Scene:
        asyncio.run_coroutine_threadsafe(self._show(scene), self._loop).result(5)
        return scene

    async def _show(self, scene: Scene) -> None:
        if self._admin is not None:
            await self._admin.stop()
        self.scene = scene
        self._admin = Admin(scene.health, Exposition(GuardMetrics(scene.observer.routes, BUILD)), scene.live)
        await self._admin.start(self.sock.dup())

    def stop(self) -> None:
        """Answer nobody any more, as a guard that is gone."""
        if self._admin is not None:
            asyncio.run_coroutine_threadsafe(self._admin.stop(), self._loop).result(5)
            self._admin = None
        self.sock.close()

    def ask(self, path: str) -> str:
        with urlopen(self.url + path, timeout=5) as answer:
            text: str = answer.read().decode()
        return text

    def status(self) -> dict[str, Any]:
        """Return /api/status."""
        told: dict[str, Any] = json.loads(self.ask("/api/status"))
        return told

    def __exit__(self, *_error: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()


@pytest.fixture
def served() -> Iterator[Served]:
    with Served() as one:
        yield one


@pytest.fixture
def show(served):
    """Serve a scene by its name; return it."""
    return lambda name, **more: served.show(ALL[name](Lines().log(level="error"), **more))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = need("chromium")
    with sync_playwright() as play:
        one = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        yield one
        one.close()


@pytest.fixture
def page(browser):
    """A page whose complaints fail the test."""
    one = browser.new_page(viewport={"width": 1180, "height": 800})
    complaints: list[str] = []
    one.on("console", lambda message: complaints.append(message.text))
    one.on("pageerror", lambda error: complaints.append(str(error)))
    one.complaints = complaints
    yield one
    one.close()
    assert complaints == []
