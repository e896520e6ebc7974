"""Feeds bytes into a session as net/leg.py does: ordinary bytes over the hot lane, the rest by a step."""

from typing import Any

from spoe_guard.core.terms.anomalies import Side
from spoe_guard.core.terms.output import Close, LinkOutput, Output


def carry(session: Any, side: Side, data: bytes, now: float, link_id: int = 0) -> Output:
    """Return what one read makes the session write and do, in as many turns as it takes, all of it in one output."""
    out = _turn(session, side, data, now, link_id)
    while out.left:
        data = data[-out.left :]
        out = joined(out, _turn(session, side, data, now, link_id))
    return out


def _turn(session: Any, side: Side, data: bytes, now: float, link_id: int) -> Output:
    lane = session.lane
    passed: dict[int, bytes] = {}  # to agents, by link
    to_haproxy = b""
    at = 0
    if side is Side.AGENT:
        ledger = session.ledger(link_id)
        at = lane.down(ledger, data, now) if ledger is not None else 0
        to_haproxy = data[:at]
    else:
        while (stop := lane.up(data, at, now)) > at:
            number = next(number for number in _numbers(session) if session.ledger(number) is lane.ledger)
            passed[number] = passed.pop(number, b"") + data[at:stop]  # the last one used stands last
            at = stop
    if at < len(data) or not data:
        out = session.receive(side, data[at:], now, *((link_id,) if link_id else ()))
    else:
        out = Output()
        out.link_id = next(reversed(passed), 0)
    first = Output()
    first.link_id = out.link_id
    first.to_haproxy = to_haproxy
    first.more = [_order(number, bytes_) for number, bytes_ in passed.items()]
    return joined(first, out)


def hear(session: Any, side: Side, data: bytes, now: float, link_id: int = 0) -> Output:
    """Return what a read that is not ordinary makes of the session, in as many turns as it takes."""
    out: Output = session.receive(side, data, now, link_id)
    while out.left:
        data = data[-out.left :]
        out = joined(out, session.receive(side, data, now, link_id))
    return out


def joined(first: Output, then: Output) -> Output:
    """Return in one output what both ask for; there is one that says so of each thing that can be asked for only once."""
    out = Output()
    out.link_id, out.left = then.link_id, then.left
    out.to_haproxy = first.to_haproxy + then.to_haproxy
    out.close_haproxy = then.close_haproxy if first.close_haproxy is Close.KEEP else first.close_haproxy
    out.events = [*first.events, *then.events]
    out.foreign = (*first.foreign, *then.foreign)
    orders: dict[int, LinkOutput] = {out.link_id: out}
    for order in (first, *first.more, then, *then.more):
        known = orders.setdefault(order.link_id, LinkOutput(order.link_id))
        known.to_agent += order.to_agent
        known.dial = known.dial or order.dial
        known.close_agent = order.close_agent if known.close_agent is Close.KEEP else known.close_agent
    out.more = [order for order in orders.values() if order is not out]
    return out


def _order(number: int, to_agent: bytes) -> LinkOutput:
    order = LinkOutput(number)
    order.to_agent = to_agent
    return order


def passed(session: Any) -> tuple[int, int]:
    """Return the bytes that went by the lane to agents, and to HAProxy, of which the session's books do not know yet."""
    return session.lane.passed, sum(session.ledger(number).passed for number in _numbers(session))


def _numbers(session: Any) -> list[int]:
    return list(session.snapshot().links)


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
