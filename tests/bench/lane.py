"""What the session's own code takes without any socket: ``python -m tests.bench.lane`` writes it as JSON.

The two functions are the one place that knows the inside of the guard. They run in the build that is measured, which has nothing
of the tests' beside itself: nothing of tests/ may be imported here.
"""

import ipaddress
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Iterable
from typing import Any, Final

IN_FLIGHT: Final = (1, 64, 10_000)
SESSIONS: Final = (1, 1024)
BATCH: Final = 64  # frames of a read, where so many are in flight
PAIRS: Final = 100_000
TRIPS: Final = 20_000
TIMES: Final = 25  # of which the best counts: what else the machine does only adds
FLOODS: Final = 5  # of which the best counts, as above
READ_BYTES: Final = 65536  # spoe_guard.net.calls
TOUCHED: Final = 8192  # bytes that a system call is taken to push out of the nearest cache


def notifies(numbers: Iterable[int]) -> bytes:
    """Return NOTIFYs of 130 bytes, a stream each."""
    from spoe_guard.wire import frame, kv, messages, typed_data

    address = kv.Pair(b"ip", typed_data.IPV4, ipaddress.IPv4Address("192.0.2.1"))
    text = messages.encode([messages.Message(b"check-request", [address, kv.Pair(b"path", typed_data.STR, b"/" * 90)])])
    return b"".join(frame.encode(frame.NOTIFY, 2 * number + 1, 1, text) for number in numbers)


def acks(numbers: Iterable[int]) -> bytes:
    """Return their ACKs, which set one variable each."""
    from spoe_guard.wire import actions, frame, typed_data, walk

    text = actions.set_var(walk.SCOPE_TXN, b"ip_score", typed_data.UINT32, 77)
    return b"".join(frame.encode(frame.ACK, 2 * number + 1, 1, text) for number in numbers)


def pair_ns(in_flight: int) -> float:
    """Return what the lane's walks take for a NOTIFY and its ACK with so many NOTIFYs in flight, in nanoseconds.

    The guard's own calls are those of C: what it takes to call from here is not counted.

    Raises:
        ImportError: this build has no such module.
    """
    from spoe_guard.core.conversation.ledger import Ledger
    from spoe_guard.core.lane import walk_acks, walk_notifies
    from spoe_guard.core.terms.tally import Tally

    size = min(in_flight, BATCH)
    batches = [range(first, first + size) for first in range(0, in_flight + size, size)]
    asked, answers = [notifies(batch) for batch in batches], [acks(batch) for batch in batches]
    ledger, tally = Ledger(), Tally()
    ledger.size = ledger.longest_ack = 16380
    for read in asked[:-1]:
        assert walk_notifies(ledger, tally, read, 0, len(read), 1 << 20, 1.0) == len(read)
    turns = [(asked[at - 1], answers[at]) for at in range(len(batches))] * max(1, PAIRS // (size * len(batches)))

    def walked(*, most: int) -> float:
        """Answer the oldest and ask as many anew, each turn; with 0 bytes to walk over it is the calls alone."""
        began = time.perf_counter()
        for read, answer in turns:
            walk_acks(ledger, tally, answer, 0, min(len(answer), most), 1.0)
            walk_notifies(ledger, tally, read, 0, min(len(read), most), 1 << 20, 1.0)
        return time.perf_counter() - began

    whole, calls = (min(walked(most=most) for _ in range(TIMES)) for most in (1 << 20, 0))
    assert tally.ack_count == TIMES * len(turns) * size
    return (whole - calls) / (len(turns) * size) * 1e9


def talking(tally: Any) -> Any:
    """Return a session behind its HELLOs, of a HAProxy up to 3.0, which is written to at any speed.

    Raises:
        ImportError: this build has no such module.
    """
    from spoe_guard.core.session import Session
    from spoe_guard.core.terms.anomalies import Side
    from spoe_guard.core.terms.config import SessionConfig
    from spoe_guard.wire import frame, kv, typed_data

    def hello(kind: int, versions: kv.Pair) -> bytes:
        size = kv.Pair(b"max-frame-size", typed_data.UINT32, 16380)
        asynchronous = kv.Pair(b"capabilities", typed_data.STR, b"pipelining,async")
        return frame.encode(kind, payload=kv.encode([versions, size, asynchronous]))

    session = Session(SessionConfig(), tally, 0.0)
    session.start(0.0)
    session.receive(Side.HAPROXY, hello(frame.HAPROXY_HELLO, kv.Pair(b"supported-versions", typed_data.STR, b"2.0")), 0.0)
    session.agent_connected(0.0)
    session.receive(Side.AGENT, hello(frame.AGENT_HELLO, kv.Pair(b"version", typed_data.STR, b"2.0")), 0.0)
    return session


def step_us(sessions: int) -> float:
    """Return what a round trip takes in the session's own code, in microseconds, where so many sessions have their turns.

    Between two reads other memory is touched, as the kernel does; what that takes is not counted.

    Raises:
        ImportError: this build has no such module.
    """
    from spoe_guard.core.terms.tally import Tally

    tally, there = Tally(), []
    for _ in range(sessions):
        session = talking(tally)
        there.append((session.lane, session.ledger(0)))
    memory = bytearray(TOUCHED)
    blank = bytes(TOUCHED)
    turns = there * max(1, TRIPS // sessions)
    asked, answer = notifies([7]), acks([7])

    def touched() -> float:
        began = time.perf_counter()
        for _lane, _ledger in turns:
            memory[:] = blank
            memory[:] = blank
        return time.perf_counter() - began

    def walked() -> float:
        began = time.perf_counter()
        for lane, ledger in turns:
            memory[:] = blank
            lane.up(asked, 0, 0.0)
            memory[:] = blank
            lane.down(ledger, answer, 0.0)
        return time.perf_counter() - began

    before = tally.ack_count
    best = (min(walked() for _ in range(TIMES)) - min(touched() for _ in range(TIMES))) / len(turns)
    assert tally.ack_count == before + TIMES * len(turns), "a read did not go by the lane"
    return best * 1e6


def longest_turn_ms(read: bytes, *, from_agent: bool) -> float:
    """Return the longest of the turns in which a session deals with ``read``, in ms, with what is counted and logged of it.

    Raises:
        ImportError: this build has no such module.
    """
    from spoe_guard.core.terms.anomalies import Side
    from spoe_guard.observe.logs import Log
    from spoe_guard.observe.observer import GuardObserver
    from spoe_guard.observe.sink import Sink

    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  for its descriptor
        sink = Sink(nowhere.fileno())
        observer = GuardObserver(["default"], Log(sink, "json", "info", colors=False), lines=10)
        side = Side.AGENT if from_agent else Side.HAPROXY
        longest = math.inf
        for number in range(FLOODS):
            observer.session_opened("default", number, "nobody")
            session = talking(observer.tally("default"))
            session.receive(Side.HAPROXY, notifies([0]), 0.0)
            turns, rest = [0.0], read
            while rest:
                began = time.perf_counter()
                out = session.receive(side, rest, 0.0)
                if out.events:
                    observer.seen("default", number, out.events)
                turns.append(time.perf_counter() - began)
                rest = rest[-out.left :] if out.left else b""
            longest = min(longest, max(turns))
        sink.close(0.0)
    return longest * 1e3


def floods() -> dict[str, tuple[bytes, bool]]:
    """Return reads of odd frames of which as many as can be fit into one, and whether an agent writes them."""
    from spoe_guard.wire import frame, walk

    def read(*odd: bytes) -> bytes:
        return b"".join(itertools.islice(itertools.cycle(odd), READ_BYTES // max(map(len, odd))))

    def ack(number: int, payload: bytes) -> bytes:
        return frame.encode(frame.ACK, 2 * number + 1, 1, payload)

    bad_bool = bytes((walk.SET_VAR, 3, walk.SCOPE_TXN)) + b"\1v\x10"
    return {
        "runts, from HAProxy": (read(bytes(4)), False),
        "runts, from the agent": (read(bytes(4)), True),
        "NOTIFYs without a message": (read(*(frame.encode(frame.NOTIFY, 2 * each + 1, 1, b"") for each in range(4096))), False),
        "ACKs for nothing": (read(*(ack(each, bad_bool) for each in range(1, 4096))), True),
        "types nobody knows": (read(frame.encode(0x77, 0, 0, b"")), True),
        "one ACK of bad booleans": (ack(0, bad_bool * ((16380 - 7) // len(bad_bool))), True),
    }


def measured() -> dict[str, Any]:
    """Return both for all there is to ask, or under ``lacks`` why this build cannot be asked."""
    from spoe_guard.about import about

    try:
        pairs = {str(number): pair_ns(number) for number in IN_FLIGHT}
        steps = {str(number): step_us(number) for number in SESSIONS}
        turns = {name: longest_turn_ms(read, from_agent=from_agent) for name, (read, from_agent) in floods().items()}
    except ImportError as error:
        return {"lacks": f"{type(error).__name__}: {error}"}
    return {"compiled": about()["compiled"] == "true", "pair_ns": pairs, "step_us": steps, "turn_ms": turns}


if __name__ == "__main__":
    json.dump(measured(), sys.stdout)
