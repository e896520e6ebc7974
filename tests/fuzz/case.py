"""A play as bytes: the settings, and the moves of each side over time. Any bytes are a valid play, so any mutation runs."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.core.terms.config import Redispatch, SessionConfig, Unanswered
from spoe_guard.core.terms.policy import Policy
from spoe_guard.settings.load import load
from spoe_guard.settings.profiles import PROFILES
from spoe_guard.settings.sessions import session_config
from tests.properties.configs import ALL, ANSWERING, KEEPING
from tests.properties.conversations import AGENT, HAPROXY, Drain, Due, Leave, Move, Reach, Say, Wait, agent, link_of
from tests.properties.driver import Dial

# What is judged, and so which choices a policy may make: every promise; all but late answers (H5); the books alone.
EVERY, LATE, BOOKS = "every promise", "all but late answers", "the books"
CHOICES = {EVERY: ANSWERING, LATE: KEEPING, BOOKS: ALL}

# One byte each, taken modulo the number of choices. The first is the default.
KNOBS: dict[str, tuple[Any, ...]] = {
    "judged": (EVERY, EVERY, LATE, BOOKS),
    "observe": (False, False, False, True),
    "profile": tuple(PROFILES),
    "sizes": ((None, 1048576), (None, 16384), (1024, 1028), (256, 260)),  # max_frame_size (None: the profile's) and held_bytes
    "capabilities": (None, frozenset(("pipelining", "fragmentation", "async")), frozenset()),  # None: the profile's
    "disconnect_hold_s": (0.5, 0.0, 3.0),
    "unanswered": (Unanswered.LEAVE, Unanswered.EMPTY_ACK, Unanswered.SET, Unanswered.TELL),
    "answer_deadline_s": (None, 0.3),
    "open_notifies": (65536, 2, 1),
    "dial": (Dial.AT_ONCE, Dial.NEXT, Dial.LATER, Dial.FAILS, Dial.FAILS_LATER, Dial.NEVER),
    "give_up_s": (0.0, 5.0, 5.0, 0.4),
    "max_links": (1, 2, 20),
    "in_flight": (0, 1, 2),
    "retire_s": (None, 0.3),
    "redispatch": (Redispatch.UNSENT, Redispatch.UNANSWERED, Redispatch.OFF),
    "pieces": ((), (1,) * 20 + (65536,), (3, 11, 40, 65536), (7, 65536)),  # as TCP cuts each write; few, for the sake of speed
    "park_s": (None, 0.2),
    "agent_hello_s": (None, 0.1),
    "always_offer": (None, frozenset(("fragmentation",))),  # None: the profile's
}
PLAIN = (
    "disconnect_hold_s", "unanswered", "answer_deadline_s", "open_notifies",
    "give_up_s", "max_links", "in_flight", "retire_s", "redispatch", "park_s", "agent_hello_s",
)  # fmt: skip
CHOSEN = 2  # policies chosen, two bytes each: which anomaly (0: none), and what is done about it
HEADER = len(KNOBS) + 2 * CHOSEN

WAITS = (0.0, 0.001, 0.1, 0.3, 0.5, 0.6, 1.0, 1.9, 2.0, 5.0, 700.0)
SAYS = {0: HAPROXY, 1: AGENT, 6: HAPROXY, 7: AGENT}
WAIT, LEAVE, DRAIN, DUE, ON_LINK, REACH = 2, 3, 4, 5, 8, 9
LINKS = 6  # that peers may say something on
SIDES = (HAPROXY, *map(agent, range(LINKS)))


@dataclass
class Case:
    """``knobs``: HEADER bytes."""

    knobs: bytes = bytes(HEADER)
    moves: list[Move] = field(default_factory=list)

    def knob(self, name: str) -> Any:
        choices = KNOBS[name]
        return choices[self.knobs[list(KNOBS).index(name)] % len(choices)]

    def turned(self, name: str, choice: object) -> "Case":
        """The same with that knob at ``choice``."""
        at = list(KNOBS).index(name)
        return replace(self, knobs=self.knobs[:at] + bytes((KNOBS[name].index(choice),)) + self.knobs[at + 1 :])

    @property
    def choices(self) -> dict[Anomaly, Action]:
        """What the policy says otherwise than by default."""
        allowed = CHOICES[self.knob("judged")]
        names = [anomaly for anomaly, actions in allowed.items() if len(actions) > 1]
        chosen = self.knobs[len(KNOBS) :]
        made = {}
        for which, what in zip(chosen[::2], chosen[1::2], strict=True):
            if 0 < which <= len(names):
                anomaly = names[which - 1]
                made[anomaly] = allowed[anomaly][what % len(allowed[anomaly])]
        return made

    @property
    def config(self) -> SessionConfig:
        profile = _profile(self.knob("profile"))
        size, held = self.knob("sizes")
        capabilities, always_offer = self.knob("capabilities"), self.knob("always_offer")
        return replace(
            profile,
            observe=self.knob("observe"),
            policy=Policy(self.choices),
            error_name=b"error",
            max_frame_size=profile.max_frame_size if size is None else size,
            held_bytes=held,
            capabilities=profile.capabilities if capabilities is None else capabilities,
            always_offer=profile.always_offer if always_offer is None else always_offer,
            **{name: self.knob(name) for name in PLAIN},
        )


@functools.cache
def _profile(name: str) -> SessionConfig:
    settings = load(environ={"SPOE_GUARD_ROUTES__0__HELLO__PROFILE": name}).settings
    return session_config(settings, settings.routes[0])


def encode(case: Case) -> bytes:
    return case.knobs + b"".join(map(_encoded, case.moves))


def _encoded(move: Move) -> bytes:
    if isinstance(move, Say):
        link = link_of(move.side)
        head = bytes((ON_LINK, link)) if link else bytes((SIDES.index(move.side),))
        return b"".join(head + len(part).to_bytes(2, "big") + part for part in _writes(move.data))
    if isinstance(move, Wait):
        return bytes((WAIT, WAITS.index(move.seconds)))
    if isinstance(move, Leave):
        return bytes((LEAVE, 2 * SIDES.index(move.side) + move.reset))
    if isinstance(move, Reach):
        return bytes((REACH, 2 * move.link + move.up))
    return bytes((DRAIN if isinstance(move, Drain) else DUE,))


def _writes(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 65535):
        yield data[at : at + 65535]


def decode(raw: bytes) -> Case:
    return Case(raw[:HEADER].ljust(HEADER, b"\0"), list(_moves(raw[HEADER:])))


def _moves(rest: bytes) -> Iterator[Move]:
    at = 0
    while at < len(rest):
        kind, at = rest[at] % 10, at + 1
        side = SAYS.get(kind)
        if kind == ON_LINK:
            side, at = agent(rest[at] % LINKS if at < len(rest) else 0), at + 1
        if side is not None:
            length = int.from_bytes(rest[at : at + 2], "big")
            data, at = rest[at + 2 : at + 2 + length], at + 2 + length
            if data:
                yield Say(side, data)
        elif kind == DRAIN:
            yield Drain()
        elif kind == DUE:
            yield Due()
        else:
            told, at = rest[at] if at < len(rest) else 0, at + 1
            if kind == WAIT:
                yield Wait(WAITS[told % len(WAITS)])
            elif kind == LEAVE:
                yield Leave(SIDES[told // 2 % len(SIDES)], reset=told % 2 == 1)
            else:
                yield Reach(told // 2 % LINKS, up=told % 2 == 1)
