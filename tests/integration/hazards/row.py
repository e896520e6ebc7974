"""A row of the hazard table, and its result."""

import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.integration.haproxy import Options, Seen
from tests.integration.hazards.peer import Peer

PATIENCE = "800ms"  # `timeout processing`: what a stalled request waits
RACES = 200  # how often a row is played in which chance has a part
STORM = 100  # connections for one request, from which on it is called a storm


def answer(seen: Seen, path: str) -> str:
    """Say what the client of ``path`` saw of the agent's answer."""
    if seen.status == 0:
        return "no HTTP response"
    if seen.verdict == path:
        return "ok"
    if seen.verdict:
        return f"another's answer ({seen.verdict})"
    return f"st={seen.error}" if seen.error else "nothing set, no error"


def variables(seen: Seen, path: str) -> str:
    """Say which of the variables verdict, allowed and echo were set, and to what."""
    found = {"verdict": seen.verdict, "allowed": seen.allowed, "echo": seen.echo}
    text = " ".join(f"{name}={value}" for name, value in found.items() if value)
    return text or answer(seen, path)


@dataclass(frozen=True)
class Row:
    """One hazard.

    ``id``: its letter and number in docs/evidence/haproxy.md, and which case of it; ``does``: what the peer does, for the page;
    ``peer``: the same for the agent of the scene. ``warm_up`` requests are answered well; the agent goes wrong on the
    ``requests`` that follow (at once where ``peer.hold`` is their number, else one after the other) and another request
    is made ``after`` it. ``shows`` says what a client saw.

    ``without``: the symptom on each HAProxy ("2.2 2.6" names two) with no guard; ``guarded``: what is seen with the guard, on all
    of them; ``guarded_on``: where one of them differs; ``anomalies``: what it then counts, a set of names, and
    ``may_count`` what it counts on some HAProxys, or in some runs, only. ``counted``: how many
    of the requests end well differs from run to run; the symptom is then only whether an answer was lost that the agent gave
    (``answers``), or whether a request waited for HAProxy's timeout (``stalls``); `` / `` stands between two that may be seen.

    ``not_yet``: what should be seen with the guard is not seen yet: why. ``not_staged``: there is no scene: why. ``differs``:
    where live HAProxys say otherwise than that page did before they were asked. ``evidence``: where the hazard is known from, as
    evidence.py makes links of it.
    """

    id: str
    does: str
    evidence: str
    peer: Peer = field(default_factory=Peer)
    warm_up: int | None = None
    requests: int = 1
    after: bool = True
    options: Options = field(default_factory=lambda: Options(processing=PATIENCE))
    settings: tuple[tuple[str, str], ...] = ()
    shows: Callable[[Seen, str], str] = answer
    scene: str = "agent"
    counted: str = ""
    without: dict[str, str] = field(default_factory=dict)
    guarded: str = ""
    guarded_on: dict[str, str] = field(default_factory=dict)
    anomalies: str = ""
    may_count: str = ""
    not_yet: str = ""
    not_staged: str = ""
    differs: str = ""

    def expected_without(self, generation: str) -> str | None:
        """Return the symptom on that HAProxy; None where the row says nothing of it."""
        for names, symptom in self.without.items():
            if generation in names.split():
                return symptom
        return None

    def may_show(self, generation: str, symptom: str) -> bool:
        """Whether that may be seen on that HAProxy with no guard."""
        expected = self.expected_without(generation)
        return expected is None or symptom in expected.split(" / ")

    def counts(self, anomalies: set[str]) -> bool:
        """Whether that is what the guard is to count."""
        wanted = set(self.anomalies.split())
        return wanted <= anomalies <= wanted | set(self.may_count.split())

    def expected_with(self, generation: str) -> str:
        """Return what is seen on that HAProxy with the guard."""
        return self.guarded_on.get(generation, self.guarded)


@dataclass
class Outcome:
    """What came of one scene.

    ``died_of``: the signal that ended HAProxy. ``given``: how many answers the agent gave, and ``stalls``
    how many requests waited for HAProxy's timeout, where they are counted.
    ``anomalies``: what the guard counted, if there was one. ``staged``: False where HAProxy did not send what the scene needs.
    """

    answers: list[str]
    after: str | None = None
    died_of: int = 0
    connections: int = 0
    seconds: float = 0.0
    given: int | None = None
    stalls: int | None = None
    staged: bool = True
    anomalies: Counter[str] = field(default_factory=Counter)

    @property
    def _storm(self) -> bool:
        return self.connections > STORM * len(self.answers)

    @property
    def symptom(self) -> str:
        """The same words for the same thing, so that they can be compared."""
        if self.died_of:
            return "HAProxy dies"
        if self.given is not None:
            lost = self.given > self.answers.count("ok")
            return "answers lost that were given" if lost else "no answer lost that was given"
        if self.stalls is not None:
            return "some stall" if self.stalls else "none stalls"
        counted = Counter(self.answers)
        text = ", ".join(f"{count} x {what}" if count > 1 else what for what, count in sorted(counted.items()))
        if self.after is not None:
            text += f"; next {self.after}"
        return text + ("; reconnect storm" if self._storm else "")

    @property
    def figures(self) -> str:
        """What was measured and differs from run to run."""
        if self.died_of:
            return signal.Signals(self.died_of).name
        if self.given is not None:
            return f"{len(self.answers)} requests, {self.given} answers given, {self.answers.count('ok')} arrived"
        if self.stalls is not None:
            return f"{self.stalls} of {len(self.answers)}"
        return f"{self.connections} connections in {self.seconds:.1f} s" if self._storm else ""
