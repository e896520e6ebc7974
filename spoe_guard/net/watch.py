"""The guard asks an agent itself whether it is there, by a health check as HAProxy's `option spop-check` sends it.

With ``health: listen`` a route stops to listen while its agent is away, so that a plain TCP check of HAProxy fails. Nobody else
would ask then: with nothing listening no HAProxy comes, and before that a plain check brings no HELLO.

And wherever a dial has failed, the agent refuses HELLO, or the links of all sessions are silent, until the agent answers. While
it is away HAProxy is told so within milliseconds, and an agent that needs more than that for a connection and HELLO would never
be found back. HAProxy may also send nothing more: because it has connections that work, or because ``/readyz`` says no. And
where HAProxy has hundreds of connections, an agent that hangs leaves too few NOTIFYs of each unanswered for a link to be
replaced, so that nobody would dial.

Where there are several addresses, each that has failed is asked by itself, so that no request has to find out whether it is back.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from time import monotonic
from typing import Final

from spoe_guard.address import Address
from spoe_guard.core.conversation.agent_state import AgentState
from spoe_guard.core.payloads import hello
from spoe_guard.core.payloads.disconnect import Disconnect
from spoe_guard.core.terms.config import SessionConfig
from spoe_guard.core.terms.events import AgentReady, AgentUnreachable, DialFailure
from spoe_guard.net.agents import Agents
from spoe_guard.net.dial import DialError
from spoe_guard.net.listener import Listener, Pause
from spoe_guard.net.observer import Observer
from spoe_guard.net.route import Route
from spoe_guard.wire import frame as frames
from spoe_guard.wire import walk

EVERY_S: Final = 1.0
HELLO_S: Final = 2.0  # for AGENT-HELLO, where nothing is set
LEAST_HELLO_S: Final = 0.1  # HAProxy may have left for another reason than `timeout hello`
NO_SESSION: Final = 0  # what is reported belongs to none
_TO_A_CHECK: Final = "in answer to the guard's own health check"


class _RefusedError(Exception):
    """The agent answered HELLO with AGENT-DISCONNECT. The text says so."""


class AgentProbe:
    """Asks the agent of one route. What comes of it is reported, and the sessions of the route know it."""

    def __init__(self, agents: Agents, state: AgentState, observer: Observer) -> None:
        self._agents = agents
        self._state = state
        self._observer = observer
        self._there: bool | None = None

    async def until_it_answers(self, route_now: Callable[[], Route]) -> None:
        """Ask every ``EVERY_S`` until AGENT-HELLO has come, here or to a session.

        An agent that is away has twice as long for HELLO after each that it missed, but no longer than HAProxy waits: one that
        needs more serves nobody.
        """
        if self._state.failing or self._state.refuses:
            await _pause()
        while self._state.in_doubt:
            route = route_now()
            away = self._state.is_away(monotonic(), route.config.give_up_s)
            longest_s = min(self._state.hello_wait_s(HELLO_S), max(self._state.haproxy_waited_s, LEAST_HELLO_S))
            if not await self.ask(route, route.config.agent_hello_s or longest_s) and away:
                self._state.hello_missed()
            await _pause()

    async def ask(self, route: Route, within_s: float) -> bool:
        """Send the agent a health check, and note whether it answers ``within_s``; return False if it connects and does not."""
        began = monotonic()
        try:
            sock, address = await self._agents.reach(route)
        except DialError as error:
            self._state.failed(monotonic(), 0.0, began)
            if self._there is not False:  # each dial is counted by address; here the change is told
                self._tell(route, AgentUnreachable(error.reason, error.detail), there=False)
            return True
        try:
            async with asyncio.timeout(within_s):
                size = await _hello(sock, route.config)
        except _RefusedError as refusal:
            self._refused(began)
            self._agents.failed(address, DialFailure.HELLO_REFUSED.value)
            self._tell(route, AgentUnreachable(DialFailure.HELLO_REFUSED, str(refusal), agent=str(address)), there=False)
            return True
        except (OSError, TimeoutError, EOFError):
            self._state.failed(monotonic(), 0.0, began)
            self._agents.failed(address, DialFailure.HELLO_TIMEOUT.value)
            detail = f"no AGENT-HELLO within {within_s:.3g} s {_TO_A_CHECK}"
            self._tell(route, AgentUnreachable(DialFailure.HELLO_TIMEOUT, detail, agent=str(address)), there=False)
            return False
        else:
            self._state.answered(None)
            self._agents.answered(address)
            self._tell(route, AgentReady(size, "", healthcheck=True, agent=str(address)), there=True)
            return True
        finally:
            sock.close()

    def _refused(self, began: float) -> None:
        """AGENT-DISCONNECT came. HAProxy is told so by the agent's own, unless the agent counts as away already."""
        if self._state.failing:
            self._state.failed(monotonic(), 0.0, began)
        else:
            self._state.refused()

    def _tell(self, route: Route, event: AgentReady | AgentUnreachable, *, there: bool) -> None:
        self._there = there
        self._observer.seen(route.name, NO_SESSION, [event])


class AddressProbe:
    """Asks one address of several that has failed, or may have, until it answers: no dial of a session has to find that out."""

    def __init__(self, agents: Agents, observer: Observer) -> None:
        self._agents = agents
        self._observer = observer

    async def until_it_answers(self, route_now: Callable[[], Route], address: Address, *, at_once: bool) -> None:
        """Ask every ``EVERY_S``, at first ``at_once`` or after a pause, as long as the address is down and in the settings."""
        if not at_once:
            await _pause()
        while address in (route := route_now()).agent and not route.config.observe:
            await self._ask(route, address)
            await _pause()
            if not self._agents.is_down(address):
                break

    async def _ask(self, route: Route, address: Address) -> None:
        try:
            size = await self._answer(route, address, route.config.agent_hello_s or HELLO_S)
        except DialError as error:
            self._agents.tried(address, error)
            return
        self._agents.tried(address, None)
        if self._agents.answered_check(address):
            self._observer.seen(route.name, NO_SESSION, [AgentReady(size, "", healthcheck=True, agent=str(address))])

    async def _answer(self, route: Route, address: Address, within_s: float) -> int:
        """Return the max-frame-size in its AGENT-HELLO, bytes.

        Raises:
            DialError: the address cannot be reached, or no AGENT-HELLO came ``within_s``.
        """
        try:
            async with asyncio.timeout(route.config.connect_s):
                sock, _ = await self._agents.check(address, route.config.connect_s)
        except TimeoutError:
            raise DialError(DialFailure.TIMEOUT, f"no connection within {route.config.connect_s:g} s") from None
        try:
            async with asyncio.timeout(within_s):
                return await _hello(sock, route.config)
        except TimeoutError:
            raise DialError(DialFailure.HELLO_TIMEOUT, f"no AGENT-HELLO within {within_s:.3g} s {_TO_A_CHECK}") from None
        except _RefusedError as refusal:
            raise DialError(DialFailure.HELLO_REFUSED, str(refusal)) from None
        except (OSError, EOFError):
            raise DialError(DialFailure.OTHER, f"no AGENT-HELLO {_TO_A_CHECK}") from None
        finally:
            sock.close()


class AgentWatch(AgentProbe):
    """Asks every ``EVERY_S``, and has ``listener`` listen only while the agent is there."""

    def __init__(self, listener: Listener, agents: Agents, state: AgentState, observer: Observer) -> None:
        super().__init__(agents, state, observer)
        self._listener = listener

    async def keep(self, route_now: Callable[[], Route]) -> None:
        """Watch the agent of the route that ``route_now`` returns, until cancelled."""
        while True:
            route = route_now()
            await self.ask(route, route.config.agent_hello_s or HELLO_S)
            away = self._state.is_away(monotonic(), route.config.give_up_s)
            if away and self._listener.listening:
                self._listener.pause(Pause.AWAY)
            elif not away and not self._listener.listening:
                with contextlib.suppress(OSError):  # somebody has taken the address meanwhile: try again
                    self._listener.resume(Pause.AWAY)
            await _pause()

    def _refused(self, began: float) -> None:
        """No plain check of HAProxy's may succeed."""
        self._state.failed(monotonic(), 0.0, began)


async def _pause() -> None:
    await asyncio.sleep(EVERY_S * (1 - random.random() / 4))  # noqa: S311  no secret


async def _hello(sock: socket.socket, config: SessionConfig) -> int:
    """Send a health check's HELLO and return the max-frame-size in the answer, bytes.

    Raises:
        _RefusedError: AGENT-DISCONNECT came.
        EOFError: the answer is no AGENT-HELLO that HAProxy would take, or there is none.
        OSError: the connection broke.
    """
    asked = hello.check(config)
    await asyncio.get_running_loop().sock_sendall(sock, asked.raw)
    came = b""
    while len(came) < frames.LENGTH_BYTES or len(came) < frames.LENGTH_BYTES + min(walk.length_at(came, 0), hello.MAX_HELLO):
        more = await _received(sock, hello.MAX_HELLO)
        if not more:
            raise EOFError
        came += more
    end = frames.LENGTH_BYTES + walk.length_at(came, 0)
    answer = frames.parse(came[:end]) if frames.MIN_LENGTH <= end - frames.LENGTH_BYTES <= hello.MAX_HELLO else None
    if answer is not None and answer.type == frames.AGENT_DISCONNECT:
        raise _RefusedError(f"it refused HELLO: status {Disconnect(answer).status} {_TO_A_CHECK}")
    if answer is None or answer.type != frames.AGENT_HELLO:
        raise EOFError
    read = hello.AgentHello(answer, asked)
    if read.hopeless:
        raise EOFError
    return read.max_frame_size


async def _received(sock: socket.socket, most: int) -> bytes:
    """Return what comes next, at most so many bytes; none at the end of the stream.

    Raises:
        OSError: the connection broke.
    """
    try:
        return await asyncio.get_running_loop().sock_recv(sock, most)
    except OSError as error:
        raise error.with_traceback(None) from None  # asyncio keeps it where its traceback leads: it would refer to itself
