"""The fuzzer's seeds: the recorded streams, the hazard table's rows and inputs, and the lab's misbehaviours."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from spoe_guard.core.terms.config import Redispatch, Unanswered
from spoe_guard.lab import frames
from spoe_guard.lab.agent import echo
from spoe_guard.lab.misbehaviour import MISBEHAVIOURS, End
from spoe_guard.settings.profiles import PROFILES
from spoe_guard.wire import frame
from tests.captures.test_captures import AGENTS, records
from tests.fuzz.case import KNOBS, WAITS, Case
from tests.integration.hazards.inputs import INPUTS, Input
from tests.integration.hazards.peer import Largest, Peer, Steps, good_hello, padded
from tests.integration.hazards.table import TABLE
from tests.properties import spop
from tests.properties.conversations import AGENT, HAPROXY, Drain, Leave, Move, Reach, Say, Wait, agent
from tests.properties.driver import Dial

DISCONNECT = frames.disconnect(frame.HAPROXY_DISCONNECT)


@cache
def seeds() -> dict[str, Case]:
    """By name. Made once: rows of chance differ from time to time."""
    return dict(_all())


def _all() -> Iterator[tuple[str, Case]]:
    for name, moves in (*_captures(), *_rows(), *_inputs(), *_misbehaviours(), *_good()):
        yield name, Case(moves=moves)
    yield from _links()
    yield from _absent()
    yield from _fragments()
    # the same good conversation with every knob at every choice
    [(_, good), *_] = _good()
    for knob, choices in KNOBS.items():
        for choice in dict.fromkeys(choices[1:]):
            yield f"{knob} {choice}", Case(moves=good).turned(knob, choice)
    for profile in PROFILES:
        for family in frames.Family:
            yield f"{profile} {family.name}", Case(moves=_opening(family)).turned("profile", profile)


def _captures() -> Iterator[tuple[str, list[Move]]]:
    seen = set()
    for name in AGENTS:
        for record in records(name):
            sent, answered = bytes.fromhex(record["from_haproxy"]), bytes.fromhex(record["from_agent"])
            if (sent, answered) in seen:
                continue
            seen.add((sent, answered))
            [hello, *_], [answer, *_] = spop.cut(sent)[0], spop.cut(answered)[0]
            moves: list[Move] = [Say(HAPROXY, hello), Say(AGENT, answer), Say(HAPROXY, sent[len(hello) :])]
            at = 0
            for size in record["segments"]:
                if rest := answered[max(at, len(answer)) : at + size]:
                    moves.append(Say(AGENT, rest))
                at += size
            yield f"{name} {record['id']} {len(seen)}", [*moves, Leave(AGENT)]


def _notifies(count: int) -> list[frame.Frame]:
    return [_parsed(frames.notify(2 * number + 1, 1, b"/%d" % number)) for number in range(count)]


def _parsed(raw: bytes) -> frame.Frame:
    parsed = frame.parse(raw)
    assert parsed is not None
    return parsed


def _opening(family: frames.Family = frames.Family.APPLET) -> list[Move]:
    offer = frames.haproxy_hello(family)
    return [Say(HAPROXY, offer), Say(AGENT, good_hello(_parsed(offer)))]


LARGEST = 16384 - 16  # on the wire: what an agent is offered by the mux behind the guard


def _steps(steps: Steps) -> Iterator[Move]:
    for step in steps:
        if isinstance(step, Largest):
            yield Say(AGENT, padded(step.ack, LARGEST))
        elif isinstance(step, bytes):
            if step:
                yield Say(AGENT, step)
        elif isinstance(step, End):
            if step is not End.LINGER:
                yield Leave(AGENT, reset=step is End.RESET)
        else:
            yield Wait(min(WAITS, key=lambda choice: abs(choice - step)))


def _rows() -> Iterator[tuple[str, list[Move]]]:
    for row in TABLE.values():
        for family in frames.Family:
            yield f"{row.id} {family.name}", _row(row.peer, family)


def _row(peer: Peer, family: frames.Family) -> list[Move]:
    offer = frames.haproxy_hello(family)
    moves = [*_steps(peer.accept or ()), Say(HAPROXY, offer)]
    hello = peer.hello(_parsed(offer)) if peer.hello else [good_hello(_parsed(offer), peer.capabilities)]
    moves += _steps(hello)
    notifies = _notifies(peer.hold)
    moves.append(Say(HAPROXY, b"".join(each.raw for each in notifies)))
    acks = [_parsed(frames.ack(each, echo(each))) for each in notifies]
    moves += _steps(peer.play(acks) if peer.play else [each.raw for each in acks])
    return [*moves, Say(HAPROXY, DISCONNECT), *_steps(peer.goodbye or ()), Leave(HAPROXY)]


def _inputs() -> Iterator[tuple[str, list[Move]]]:
    for row in INPUTS.values():
        yield row.id, _input(row)


def _input(row: Input) -> list[Move]:
    moves, sent = ([], row.first) if row.first is not None else (_opening(), row.then)
    parts = [sent[: row.split], sent[row.split :]]
    moves += [Say(HAPROXY, part) for part in parts if part]
    return [*moves, *([Leave(HAPROXY)] if row.end else [])]


def _misbehaviours() -> Iterator[tuple[str, list[Move]]]:
    notifies = _notifies(3)
    acks = [_parsed(frames.ack(each, echo(each))) for each in notifies]
    asked = Say(HAPROXY, b"".join(each.raw for each in notifies))
    for name, row in MISBEHAVIOURS.items():
        yield name, [*_opening(), asked, *_steps(row.play(acks))]


def _links() -> Iterator[tuple[str, Case]]:
    """Agent links that are lost in every way, with NOTIFYs on them and without, and come again, or are several."""
    notifies = [each.raw for each in _notifies(4)]
    acks = [frames.ack(each, echo(each)) for each in _notifies(4)]
    hello = good_hello(_parsed(frames.haproxy_hello(frames.Family.APPLET)))
    asked = Say(HAPROXY, b"".join(notifies))
    lasting = Case().turned("give_up_s", 5.0).turned("redispatch", Redispatch.UNANSWERED)
    its_disconnect = Say(AGENT, frames.disconnect(frame.AGENT_DISCONNECT))
    ends = {
        "fin": Leave(AGENT),
        "rst": Leave(AGENT, reset=True),
        "disconnect": its_disconnect,
        "garbage": Say(AGENT, b"\xff" * 24),
    }
    for name, end in ends.items():
        again = [Wait(0.6), Say(agent(1), hello), Say(agent(1), b"".join(acks)), Say(AGENT, acks[0])]
        yield f"link lost by {name}", replace(lasting, moves=[*_opening(), asked, Say(AGENT, acks[1]), end, *again])
        idle = [*_opening(), end, asked, Wait(0.1), Say(agent(1), hello[:20]), Say(agent(1), hello[20:]), Say(agent(1), acks[2])]
        yield f"idle link lost by {name}", replace(lasting, moves=[*idle, Drain()])
    several: list[Move] = [*_opening(), asked]
    for link in (1, 2, 3):
        several += [Reach(link), Say(agent(link), hello), Say(agent(link), b"".join(acks))]
    limited = lasting.turned("max_links", 20).turned("in_flight", 1)
    yield "several links", replace(limited, moves=[*several, Say(AGENT, acks[0]), asked, Leave(agent(2)), Wait(700.0)])
    away: list[Move] = [Leave(AGENT), asked]
    for link in (1, 2, 3):
        away += [Wait(0.6), Reach(link, up=False)]
    yield "the agent goes and stays away", replace(lasting.turned("dial", Dial.NEVER), moves=[*_reached(), *away, Wait(5.0)])


def _reached() -> list[Move]:
    hello, answer = _opening()
    return [hello, Reach(0), answer]


def _absent() -> Iterator[tuple[str, Case]]:
    """What HAProxy gets for NOTIFYs without an answer, each way there is, and in place of an agent that is not there."""
    notifies = [each.raw for each in _notifies(9)]
    acks = [frames.ack(each, echo(each)) for each in _notifies(9)]
    [offer, answer] = _opening()
    three, more = Say(HAPROXY, b"".join(notifies[:3])), Say(HAPROXY, b"".join(notifies[3:6]))
    for way in KNOBS["unanswered"]:
        lasting = Case().turned("unanswered", way).turned("give_up_s", 0.4)
        in_time, by_hand = lasting.turned("answer_deadline_s", 0.3), lasting.turned("dial", Dial.NEVER)
        lost: list[Move] = [offer, answer, three, Say(AGENT, acks[0]), Leave(AGENT, reset=True), Wait(0.1), more]
        yield f"lost, {way.value}", replace(lasting, moves=lost)
        yield f"lost with the session, {way.value}", replace(lasting.turned("give_up_s", 0.0), moves=lost)
        late: list[Move] = [offer, answer, Say(HAPROXY, notifies[0]), Wait(0.1), Say(HAPROXY, notifies[1]), Wait(0.3)]
        yield f"overdue, {way.value}", replace(in_time, moves=[*late, Say(AGENT, b"".join(acks[:2])), Wait(0.1)])
        mute: list[Move] = [offer, answer, Wait(0.1), three, Wait(0.1), more, Wait(0.3), more, Say(agent(1), b"".join(acks))]
        yield f"mute, {way.value}", replace(in_time, moves=mute)
        away: list[Move] = [offer, Reach(0, up=False), Wait(0.5), three, Wait(0.1)]
        back: list[Move] = [Reach(1), Say(agent(1), answer.data), more, Say(agent(1), b"".join(acks[3:6])), Wait(0.1)]
        yield f"away and back, {way.value}", replace(by_hand, moves=[*away, *back])
        parked: list[Move] = [*_reached(), Leave(AGENT), three, Wait(0.3), Reach(1), Say(agent(1), answer.data), more]
        yield f"parked for too long, {way.value}", replace(by_hand.turned("park_s", 0.2), moves=[*parked, Wait(0.3)])
        silent: list[Move] = [offer, Reach(0), Wait(0.1), Wait(0.1), three, Reach(1), Say(agent(1), answer.data)]
        silent += [Say(agent(1), b"".join(acks[:3])), Wait(0.3)]
        yield f"late AGENT-HELLO, {way.value}", replace(by_hand.turned("agent_hello_s", 0.1), moves=silent)


def _fragments() -> Iterator[tuple[str, Case]]:
    """NOTIFYs in fragments, as HAProxy up to 3.0 sends them, to agents that take them and to others, and how they may end."""
    offer = Say(HAPROXY, frames.haproxy_hello(frames.Family.APPLET))
    longest = bytes.fromhex("016d 01 0161 08") + spop.text(b"x" * 400)
    for takes, fits in ((False, True), (False, False), (True, True)):
        capabilities = b"pipelining,fragmentation" if takes else b"pipelining"
        answer = Say(AGENT, frames.agent_hello(16380 if fits else 256, capabilities))
        first = Say(HAPROXY, spop.frame(spop.NOTIFY, (1, 1), longest[:200], 0))
        more = Say(HAPROXY, spop.frame(spop.UNSET, (1, 1), longest[200:300], 0))
        last = Say(HAPROXY, spop.frame(spop.UNSET, (1, 1), longest[300:]))
        aborted = Say(HAPROXY, spop.frame(spop.UNSET, (1, 1), b"", spop.FIN | spop.ABRT))
        whole = Say(HAPROXY, spop.frame(spop.NOTIFY, (3, 1), spop.ONE_MESSAGE))
        acked = Say(AGENT, frames.ack(_parsed(spop.frame(spop.NOTIFY, (1, 1))), spop.ALLOWED))
        ends: dict[str, list[Move]] = {
            "put together": [more, last, acked, whole],
            "given up": [more, aborted, whole],
            "never ended": [more, Wait(0.5), whole, Wait(0.5), last],
            "lost by the agent": [more, Leave(AGENT, reset=True), last, whole],
            "answered early": [acked, more, last, whole],
            "followed by another": [whole, first, more, last],
        }
        for name, moves in ends.items():
            case = Case(moves=[offer, answer, first, *moves]).turned("unanswered", Unanswered.SET)
            kind = "taken" if takes else "kept" if fits else "too long"
            yield f"fragments {kind}, {name}", case.turned("answer_deadline_s", 0.3)
            yield f"fragments {kind}, {name}, lasting", case.turned("give_up_s", 5.0)


def _good() -> Iterator[tuple[str, list[Move]]]:
    notifies = _notifies(3)
    moves = _opening()
    for each in notifies:
        moves += [Say(HAPROXY, each.raw), Say(AGENT, frames.ack(each, echo(each)))]
    asked = Say(HAPROXY, b"".join(each.raw for each in notifies))
    its_disconnect = Say(AGENT, frames.disconnect(frame.AGENT_DISCONNECT))
    answers = [Say(AGENT, frames.ack(each, echo(each))) for each in notifies]
    yield "good", [*moves, Say(HAPROXY, DISCONNECT), its_disconnect, Leave(HAPROXY)]
    yield "behind DISCONNECT", [*_opening(), asked, its_disconnect, *answers]
    yield "drained", [*_opening(), asked, *answers[:1], Drain(), *answers[1:]]
    yield "check", [Say(HAPROXY, frames.healthcheck_hello()), Say(AGENT, frames.agent_hello()), Leave(HAPROXY)]
