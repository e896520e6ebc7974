"""The byte counts of a play: after every step, every byte received is accounted for."""

from typing import TYPE_CHECKING

from spoe_guard.core.observed import ObservedSession
from spoe_guard.core.payloads.hello import MAX_HELLO
from spoe_guard.core.terms.output import Close, Output
from spoe_guard.core.terms.states import BEFORE_HELLO, SessionState
from spoe_guard.core.terms.tally import Tally
from tests.carrier import passed
from tests.properties.conversations import AGENT, HAPROXY

if TYPE_CHECKING:
    from tests.properties.driver import Play

# Of a tally, by name.
COUNTERS = [name for name in dir(Tally()) if not name.startswith("_") and not callable(getattr(Tally(), name))]
assert "open_notifies" in COUNTERS


def balance(play: "Play") -> None:
    """Bytes in = out + held + dropped + authored, to the byte; of the agent over all its links."""
    haproxy, links = play.wires[HAPROXY], play.links
    to_agent, said_by_agent = (sum(len(getattr(wire, what)) for wire in links.values()) for what in ("got", "sent"))
    assert play.tally.held_bytes >= 0
    assert play.tally.bytes_to_agent == len(haproxy.sent)
    assert play.tally.bytes_to_haproxy == said_by_agent
    if isinstance(play.session, ObservedSession):
        return
    stands = play.session.snapshot()
    play.waited = play.waited or stands.queued > 0
    held = 0
    by_lane = passed(play.session)
    for came, books, went in (
        (len(haproxy.sent) - by_lane[0], stands.to_agent, to_agent - by_lane[0]),
        (said_by_agent - by_lane[1], stands.to_haproxy, len(haproxy.got) - by_lane[1]),
    ):
        queued = stands.queued if books is stands.to_haproxy else 0
        assert went == books.forwarded + books.authored - books.undelivered - queued
        held += queued
        kept = came - books.forwarded - books.dropped
        assert kept >= 0, f"{-kept} bytes more went or were dropped than came"
        held += kept
    assert held == play.session.held == play.tally.held_bytes
    # The unfinished end of each stream, the agent's DISCONNECT, NOTIFYs that wait; a HELLO is read before anything is agreed.
    shares = 2 + sum(wire.closed is Close.KEEP for wire in links.values()) + (play.config.give_up_s > 0)
    most = shares * play.config.held_bytes + (MAX_HELLO if play.session.state in BEFORE_HELLO else 0)
    # What HAProxy cannot take yet: the read that makes it too much ends the session, and is still delivered.
    over = max(0, stands.queued - play.config.held_bytes)
    assert not over or play.session.state is SessionState.CLOSING, f"{over} bytes too many are queued"
    assert held - over <= most, f"{held} bytes are held"


def unchanged(play: "Play", out: Output, came: tuple[str, bytes] | None) -> None:
    """Observe mode: each step passes on the bytes that came, and only while the agent is dialled are they kept."""
    haproxy, agent = play.wires[HAPROXY], play.wires[AGENT]
    assert haproxy.got == agent.sent
    kept = haproxy.sent[len(agent.got) :]
    assert agent.got + kept == haproxy.sent
    over = haproxy.closed is not Close.KEEP or out.close_haproxy is not Close.KEEP
    assert play.session.held == len(kept) or (over and not agent.up and not play.session.held)
    assert not kept or not agent.up
    if came is not None:
        side, data = came
        assert (out.to_haproxy if side == AGENT else out.to_agent) in (data, b"")
