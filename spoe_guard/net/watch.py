"""``health: listen``: a route stops to listen while its agent is away, so that a plain TCP check of HAProxy fails.

The guard then asks the agent itself, by a health check as HAProxy's `option spop-check` sends it. Nobody else would: with nothing
listening no HAProxy comes, and before that a plain check brings no HELLO.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from time import monotonic
from typing import Final

from spoe_guard.core.conversation.agent_state import AgentState
from spoe_guard.core.payloads import hello
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import AgentReady, AgentUnreachable, DialFailure
from spoe_guard.net.agents import Agents
from spoe_guard.net.dial import DialError
from spoe_guard.net.listener import Listener
from spoe_guard.net.observer import Observer
from spoe_guard.net.route import Route
from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk

EVERY_S: Final = 1.0
HELLO_S: Final = 2.0  # for AGENT-HELLO, where nothing is set
NO_SESSION: Final = 0  # what is reported belongs to none


class AgentWatch:
    """Asks the agent of one route every ``EVERY_S``, and has ``listener`` listen only while it is there."""

    def __init__(self, listener: Listener, agents: Agents, state: AgentState, observer: Observer) -> None:
        self._listener = listener
        self._agents = agents
        self._state = state
        self._observer = observer
        self._there: bool | None = None

    async def keep(self, route_now: Callable[[], Route]) -> None:
        """Watch the agent of the route that ``route_now`` returns, until cancelled."""
        while True:
            route = route_now()
            await self.ask(route)
            away = self._state.is_away(monotonic(), route.config.give_up_s)
            if away and self._listener.listening:
                self._listener.pause()
            elif not away and not self._listener.listening:
                with contextlib.suppress(OSError):  # somebody has taken the address meanwhile: try again
                    self._listener.resume()
            await asyncio.sleep(EVERY_S * (1 - random.random() / 4))  # noqa: S311  no secret

    async def ask(self, route: Route) -> None:
        """Send the agent a health check, and note whether it answers."""
        began = monotonic()
        try:
            sock, address = await self._agents.reach(route.agent, route.config.connect_s)
        except DialError as error:
            self._state.failed(monotonic(), 0.0, began)
            if self._there is not False:  # each dial is counted by address; here the change is told
                self._tell(route, AgentUnreachable(error.reason, error.detail), there=False)
            return
        within_s = route.config.agent_hello_s or HELLO_S
        try:
            async with asyncio.timeout(within_s):
                size = await _hello(sock, route.config)
        except (OSError, TimeoutError, EOFError):
            self._state.failed(monotonic(), 0.0, began)
            self._agents.failed(address)
            detail = f"no AGENT-HELLO within {within_s:g} s in answer to the guard's own health check"
            self._tell(route, AgentUnreachable(DialFailure.HELLO_TIMEOUT, detail, agent=str(address)), there=False)
        else:
            self._state.answered(None)
            self._agents.answered(address)
            self._tell(route, AgentReady(size, "", healthcheck=True, agent=str(address)), there=True)
        finally:
            sock.close()

    def _tell(self, route: Route, event: AgentReady | AgentUnreachable, *, there: bool) -> None:
        self._there = there
        self._observer.seen(route.name, NO_SESSION, [event])


async def _hello(sock: socket.socket, config: SessionConfig) -> int:
    """Send a health check's HELLO and return the max-frame-size in the answer, bytes.

    Raises:
        EOFError: the answer is no AGENT-HELLO that HAProxy would take, or there is none.
        OSError: the connection broke.
    """
    loop = asyncio.get_running_loop()
    asked = hello.check(config)
    await loop.sock_sendall(sock, asked.raw)
    came = b""
    while len(came) < frames.LENGTH_BYTES or len(came) < frames.LENGTH_BYTES + min(walk.length_at(came, 0), hello.MAX_HELLO):
        more = await loop.sock_recv(sock, hello.MAX_HELLO)
        if not more:
            raise EOFError
        came += more
    end = frames.LENGTH_BYTES + walk.length_at(came, 0)
    answer = frames.parse(came[:end]) if frames.MIN_LENGTH <= end - frames.LENGTH_BYTES <= hello.MAX_HELLO else None
    if answer is None or answer.type != frames.AGENT_HELLO:
        raise EOFError
    read = hello.AgentHello(answer, asked)
    if read.hopeless:
        raise EOFError
    return read.max_frame_size
