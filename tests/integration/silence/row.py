"""A row of the chapter: what the agent does, the ways it is played, and what is seen."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.integration.generations import RELEASES
from tests.integration.haproxy import Options
from tests.integration.silence.surfaces import Said, Says

WITHOUT: Final = "without the guard"
SHORT: Final = ("3.2",)


@dataclass(frozen=True)
class Way:
    """One way of playing a row.

    ``settings``: of the guard's route, in words of the environment; None: without the guard. ``says``: what the guard says
    otherwise than the row has it, empty: nothing. ``opens``: requests may go on unchecked that do not without the guard,
    which is what this way is there to show. ``waits``: so many seconds a request may wait for an agent that went away less than
    ``links.give_up`` ago, or for the ACK behind its DISCONNECT. ``most``: as the row's.
    """

    name: str
    settings: Mapping[str, str] | None = None
    says: Mapping[str, Sequence[Says]] = field(default_factory=dict)
    opens: bool = False
    waits: float = 0.0
    most: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One failure.

    ``title`` and ``does``: what the agent does, for the page. ``play``: stages it, given a Cast. ``options``: HAProxy's.
    ``says``: by moment, what the guard may say. ``hello_s`` and ``answer_s``: how long the agent takes; ``absent``: it is not
    there at first. ``answered``: with the guard each request is. ``most``: of a figure, with the guard. ``on``: the HAProxys;
    ``quickly_on``: those of a short run.
    """

    id: str
    title: str
    does: str
    play: Callable[..., None]
    options: Options
    ways: tuple[Way, ...]
    says: Mapping[str, Sequence[Says]] = field(default_factory=dict)
    hello_s: float = 0.0
    answer_s: float = 0.0
    absent: bool = False
    answered: bool = False
    most: Mapping[str, float] = field(default_factory=dict)
    on: tuple[str, ...] = tuple(RELEASES)
    quickly_on: tuple[str, ...] = SHORT


@dataclass
class Result:
    """What came of one way.

    ``seconds``: how long each request took that counts. ``got``: what their clients got, and how often. ``logged``: the codes
    in HAProxy's log, of all requests. ``figures``: what else was measured, by what it is called. ``said``: by moment, what the
    guard said; ``unsaid``: what it should have said and did not in time.
    """

    seconds: list[float] = field(default_factory=list)
    got: Counter[str] = field(default_factory=Counter)
    logged: Counter[str] = field(default_factory=Counter)
    figures: dict[str, float] = field(default_factory=dict)
    said: dict[str, Said] = field(default_factory=dict)
    unsaid: dict[str, str] = field(default_factory=dict)

    @property
    def p50(self) -> float:
        """The median, in seconds."""
        return sorted(self.seconds)[len(self.seconds) // 2]

    @property
    def slowest(self) -> float:
        """The longest, in seconds."""
        return max(self.seconds)
