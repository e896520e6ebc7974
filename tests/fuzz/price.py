"""What a play costs, and what it may cost: for its bytes and for what the shell asks the session to do."""

from collections.abc import Callable
from dataclasses import dataclass

from spoe_guard.core.terms.output import Output
from tests.fuzz.case import Case
from tests.properties.conversations import Say
from tests.properties.driver import Play

# In work, see tests/cost/work.py. The table in tests/cost has what single kinds of frame cost; here they come mixed.
A_BYTE = 40
A_STEP = 1000  # a read, a tick, a dial that came up, with as many as 20 links
FIXED = 5000


@dataclass
class _Counting(Play):
    """``spent`` returns the work so far. ``taken``: how often the session was asked; ``checks``: work of the play's own."""

    spent: Callable[[], int] = lambda: 0
    taken: int = 0
    checks: int = 0

    def take(self, out: Output, came: tuple[str, bytes] | None = None) -> None:
        self.taken += 1
        super().take(out, came)

    def balance(self) -> None:
        before = self.spent()
        super().balance()
        self.checks += self.spent() - before


@dataclass(frozen=True)
class Price:
    work: int
    size: int  # bytes said
    steps: int

    @property
    def allowed(self) -> int:
        return FIXED + A_BYTE * self.size + A_STEP * self.steps

    @property
    def share(self) -> float:
        """Of what is allowed."""
        return self.work / self.allowed

    def __str__(self) -> str:
        return f"{self.work} of work for {self.size} bytes in {self.steps} steps, {self.allowed} at most"


def price(case: Case, spent: Callable[[], int], unit: int = 1) -> Price:
    """Play ``case``; ``spent`` returns the work so far, in parts of which a unit has so many."""
    before = spent()
    play = _Counting(case.config, dial=case.knob("dial"), sizes=list(case.knob("pieces")), spent=spent)
    play.play(case.moves).finish()
    size = sum(len(move.data) for move in case.moves if isinstance(move, Say))
    return Price((spent() - before - play.checks) // unit, size, play.taken)
