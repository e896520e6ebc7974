"""A client whose requests do not fit into one NOTIFY, beside one whose requests do."""

import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from spoe_guard.lab import frames
from spoe_guard.lab.agent import Script
from spoe_guard.wire import frame, messages
from tests.integration.haproxy import MAIN, SPOE, Haproxy

# What the bouncer of CrowdSec is sent, of it what a client can make long.
ARGS: Final = "path=path url=url headers=req.hdrs body=req.body"
LONG_PATH: Final = "/" + "x" * 8299  # it stands in there twice
BODY_BYTES: Final = 20000  # beyond tune.bufsize: HAProxy sends the beginning of it
BODYS_PATH: Final = "/" + "p" * 1499  # with the rest of its buffer and this, twice, it is too long
EVERY_S: Final = 0.5
CLIENTS: Final = 8
CLIENT_S: Final = 10.0


class Crowdsec(Haproxy):
    """HAProxy as that bouncer's users have it: the body is waited for."""

    main = MAIN.replace("    filter spoe", "    option http-buffer-request\n    filter spoe")
    spoe = SPOE.replace("args path=path src=src", f"args {ARGS}")
    assert main != MAIN
    assert spoe != SPOE


def _verdict(notify: frame.Frame) -> bytes:
    """Say how long the path and the body are that have arrived, in the variable ``verdict``."""
    [message] = messages.parse(notify.payload) or []
    given = {pair.name: pair.value for pair in message.args}
    lengths = [len(value) if isinstance(value, bytes) else 0 for value in (given[b"path"], given[b"body"])]
    return frames.text_verdict(b"verdict", f"{lengths[0]}+{lengths[1]}".encode())


TAKES_NONE: Final = Script(answer=_verdict)
TAKES_FRAGMENTS: Final = Script(answer=_verdict, hello=frames.agent_hello(16368, b"pipelining,fragmentation"))


@dataclass(frozen=True)
class Told:
    """What became of one request: the variables, "" where one is not set, and after how long."""

    verdict: str
    error: str
    seconds: float


class TooLong:
    """``with TooLong(haproxy, body=...)``: one such request every half second, whatever became of the one before; ``told``."""

    def __init__(self, haproxy: Haproxy, *, body: bool) -> None:
        self.told: list[Told] = []
        self._port = haproxy.port
        self._method, self._path = ("POST", BODYS_PATH) if body else ("GET", LONG_PATH)
        self._body = b"y" * BODY_BYTES if body else None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask_all)

    def _ask_all(self) -> None:
        with ThreadPoolExecutor(CLIENTS) as clients:
            while not self._stop.wait(EVERY_S):
                clients.submit(self._ask)

    def _ask(self) -> None:
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=CLIENT_S)
        try:
            connection.request(self._method, self._path, self._body)
            answer = connection.getresponse()
            answer.read()
            said = answer.getheader("verdict", ""), answer.getheader("error", "")
        except (OSError, http.client.HTTPException) as error:
            said = "", repr(error)
        finally:
            connection.close()
        self.told.append(Told(*said, time.monotonic() - began))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
