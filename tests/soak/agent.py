"""An agent that sometimes behaves, and otherwise replays recordings of real agents or sends mutated answers."""

import asyncio
import contextlib
import random
from collections.abc import Sequence

from spoe_guard.lab import frames, streams
from spoe_guard.lab.agent import echo
from spoe_guard.wire import frame
from tests.fuzz.case import Case
from tests.fuzz.corpus import seeds
from tests.fuzz.mutator import Mutator
from tests.integration.agent import OnThread
from tests.integration.hazards.peer import good_hello
from tests.properties import spop
from tests.properties.conversations import AGENT, HAPROXY, Leave, Move, Say, Wait

TOGETHER_S = 0.02  # NOTIFYs that come within this are one burst
LONGEST_WAIT_S = 0.6  # of a play: behind HAProxy's timeout processing, and past the guard's disconnect_hold
LONGEST = 64 * 1024  # bytes of a play


class Player:
    """Says what to do. ``plays`` counts what was other than to behave; the same chance and the same NOTIFYs make the same."""

    def __init__(self) -> None:
        self.plays = 0
        corpus = [case for case in seeds().values() if any(isinstance(move, Say) and move.side == AGENT for move in case.moves)]
        self._recorded = [case for case in corpus if _notifies(case)]
        self._mutator = Mutator(corpus)

    def mutated(self, moves: list[Move], chance: random.Random) -> list[Move]:
        self.plays += 1
        return self._mutator.mutate(Case(moves=moves), chance, most=LONGEST).moves

    def answered(self, notifies: Sequence[frame.Frame], chance: random.Random) -> list[Move]:
        """What is done about them: the answers they are due, what an agent was seen to do, or either of them mutated."""
        how = chance.random()
        due: list[Move] = [Say(HAPROXY, each.raw) for each in notifies]
        due += [Say(AGENT, frames.ack(each, echo(each))) for each in notifies]
        if how < 0.3:
            return due
        played = due if how < 0.65 else _for(chance.choice(self._recorded), notifies).moves
        if how < 0.85:
            return self.mutated(played, chance)
        self.plays += 1
        return played


class FuzzingAgent(OnThread):
    """Plays at whoever connects, each connection by chances of its own."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.connections = 0
        self.player = Player()
        self._seed = seed

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, streams.LOCALHOST, 0, backlog=4096)
        self.address = f"{streams.LOCALHOST}:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        await streams.stop_listening(self._server)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.keep()
        self.connections += 1
        chance = random.Random(f"{self._seed} {self.connections}")
        try:
            await self._converse(reader, writer, chance)
        except ConnectionError:
            pass  # it is over either way
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, chance: random.Random) -> None:
        offer = await streams.read_frame(reader)
        if offer is None:
            return
        hello: list[Move] = [Say(HAPROXY, offer.raw), Say(AGENT, good_hello(offer))]
        if chance.random() < 0.1:
            hello = self.player.mutated(hello, chance)
        over = await self._do(writer, hello)
        while not over and (asked := await self._asked(reader, chance)):
            notifies = [each for each in asked if each.type == frame.NOTIFY]
            over = await self._do(writer, self.player.answered(notifies, chance)) if notifies else False
            if any(each.type == frame.HAPROXY_DISCONNECT for each in asked):
                its_disconnect: list[Move] = [Say(AGENT, frames.disconnect(frame.AGENT_DISCONNECT))]
                if chance.random() < 0.5:
                    its_disconnect = self.player.mutated(its_disconnect, chance)
                await self._do(writer, its_disconnect)
                return

    async def _asked(self, reader: asyncio.StreamReader, chance: random.Random) -> list[frame.Frame]:
        """The next NOTIFY and, up to some number, those that come with it; none at the end."""
        first = await streams.read_frame(reader)
        if first is None:
            return []
        asked, most = [first], chance.choice((1, 1, 2, 4, 16))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TOGETHER_S):
                while len(asked) < most and asked[-1].type == frame.NOTIFY and (more := await streams.read_frame(reader)):
                    asked.append(more)
        return asked

    async def _do(self, writer: asyncio.StreamWriter, moves: Sequence[Move]) -> bool:
        """Do the agent's part; whether that ended the connection."""
        for move in moves:
            if isinstance(move, Wait):
                await asyncio.sleep(min(move.seconds, LONGEST_WAIT_S))  # the pause is part of the play
            elif isinstance(move, Say) and move.side == AGENT:
                writer.write(move.data)
                await writer.drain()
            elif isinstance(move, Leave) and move.side == AGENT:
                if move.reset:
                    streams.reset(writer)
                return True
        return False


def _notifies(case: Case) -> list[tuple[int, int]]:
    sent = b"".join(move.data for move in case.moves if isinstance(move, Say) and move.side == HAPROXY)
    found = []
    for raw in spop.cut(sent)[0]:
        with contextlib.suppress(spop.UnreadableError):
            told = spop.read_frame(raw)
            found += [told.ids] if told.type == spop.NOTIFY else []
    return found


def _for(case: Case, notifies: Sequence[frame.Frame]) -> Case:
    """The agent's part of ``case`` behind its HELLO, with the ids of ``notifies`` in place of those it was recorded with."""
    answered = [move for move in case.moves if not isinstance(move, Say) or move.side == AGENT]
    hello = next((at for at, move in enumerate(answered) if isinstance(move, Say) and move.data[4:5] == b"\x65"), -1)
    ids = [(_ids(old), _ids((each.stream_id, each.frame_id))) for old, each in zip(_notifies(case), notifies, strict=False)]
    moves: list[Move] = [
        Say(AGENT, _renamed(move.data, ids)) if isinstance(move, Say) else move for move in answered[hello + 1 :]
    ]
    return Case(moves=[*(Say(HAPROXY, each.raw) for each in notifies), *moves])


def _ids(ids: tuple[int, int]) -> bytes:
    return spop.integer(ids[0]) + spop.integer(ids[1])


def _renamed(sent: bytes, ids: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Other ids, and the length in front of them where it stands there; in a shuffle it may stand elsewhere, and is left."""
    head = b"\x67\0\0\0\1"
    out, at = b"", 0
    while (found := sent.find(head, at)) >= 0:
        behind = found + len(head)
        old, new = next((each for each in ids if sent.startswith(each[0], behind)), (b"", b""))
        length = sent[max(at, found - 4) : found]
        longer = (int.from_bytes(length, "big") + len(new) - len(old)) & 0xFFFFFFFF
        out += sent[at : found - len(length)] + (longer.to_bytes(4, "big") if len(length) == 4 else length) + head + new
        at = behind + len(old)
    return out + sent[at:]
