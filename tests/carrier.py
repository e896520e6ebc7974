"""Bytes into a session as net/leg.py carries them: over the hot lane as far as they are ordinary, the rest by a step."""

from typing import Any

from spoe_guard.core.anomalies import Side
from spoe_guard.core.output import LinkOutput, Output


def carry(session: Any, side: Side, data: bytes, now: float, link: int = 0) -> Output:
    """Return what one read makes the session write and do, all of it in one output."""
    lane = session.lane
    passed: dict[int, bytes] = {}  # to agents, by link
    to_haproxy = b""
    at = 0
    if side is Side.AGENT:
        ledger = session.ledger(link)
        at = lane.down(ledger, data, now) if ledger is not None else 0
        to_haproxy = data[:at]
    else:
        while (stop := lane.up(data, at, now)) > at:
            number = next(number for number in _numbers(session) if session.ledger(number) is lane.ledger)
            passed[number] = passed.pop(number, b"") + data[at:stop]  # the last one used stands last
            at = stop
    if at < len(data) or not data:
        out = session.receive(side, data[at:], now, *((link,) if link else ()))
    else:
        out = Output()
        out.link = next(reversed(passed), 0)
    out.to_haproxy = to_haproxy + out.to_haproxy
    orders = {order.link: order for order in (out, *out.more)}
    for number, bytes_ in passed.items():
        order = orders.get(number)
        if order is None:
            order = LinkOutput(number)
            out.more = [*out.more, order]
        order.to_agent = bytes_ + order.to_agent
    return out


def passed(session: Any) -> tuple[int, int]:
    """Return the bytes that went by the lane to agents, and to HAProxy, of which the session's books do not know yet."""
    return session.lane.passed, sum(session.ledger(number).passed for number in _numbers(session))


def _numbers(session: Any) -> list[int]:
    conv = getattr(session, "_shadow", session)._conv
    return list(conv.links)


class Watched:
    """A session, and in ``stepped`` what came that it was asked about: of each read what did not go by the lane."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.stepped: list[bytes] = []

    @property
    def __class__(self) -> type:
        return type(self._session)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def receive(self, side: Side, data: bytes, *rest: Any) -> Output:
        self.stepped.append(data)
        return self._session.receive(side, data, *rest)
