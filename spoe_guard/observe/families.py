"""The families of metrics that each route has samples of, and how their lines are written.

prometheus_client writes a line from a ``Sample``, with all its labels sorted and escaped each time: for a thousand routes half a
second. Here what stands before and behind the route's name is put together once, and a line is these texts and a number.
``tests/observe/test_families.py`` holds that the bytes are the library's.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Final, Generic, TypeVar

from prometheus_client.utils import floatToGoString

from spoe_guard.observe.formats import Head
from spoe_guard.observe.stats import Labels

ROUTE: Final = "route"  # the label that all of them have
COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"

Samples = Iterable[tuple[Labels, float]]  # the values of the labels beside ROUTE, and the number
Of = TypeVar("Of")  # what is known of a route, of which samples are read

number = lru_cache(maxsize=4096)(floatToGoString)  # most numbers of most routes are 0, or as small


def escaped(value: str) -> str:
    """Return a label's value as it stands between quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


class _Around(dict[Labels, tuple[str, str]]):
    """What stands before and behind the route's name in lines of one sample's name, by the values of the other labels.

    The values are from closed sets, but for the agents' addresses, which a reload may change: it is emptied when it is full.
    """

    MOST: Final = 16384

    def __init__(self, name: str, labels: Labels) -> None:
        super().__init__()
        self._name = name
        self._labels = labels

    def __missing__(self, values: Labels) -> tuple[str, str]:
        if len(self) >= self.MOST:
            self.clear()
        pairs = sorted(zip(self._labels, map(escaped, values), strict=True))
        before = "".join(f'{label}="{value}",' for label, value in pairs if label < ROUTE)
        behind = "".join(f',{label}="{value}"' for label, value in pairs if label > ROUTE)
        self[values] = made = f'{self._name}{{{before}{ROUTE}="', f'"{behind}}} '
        return made

    def lines(self, route: str, samples: Samples) -> list[str]:
        """Return the line of each sample."""
        made = []
        for values, value in samples:
            before, behind = self[values]
            made.append(f"{before}{route}{behind}{number(value)}\n")
        return made


class Family(Generic[Of]):
    """A counter or a gauge. ``name``: with ``_total``; ``labels``: those beside ROUTE; ``read``: returns a route's samples."""

    def __init__(self, type_: str, name: str, help_: str, labels: Labels, read: Callable[[Of], Samples]) -> None:
        self.type = type_
        self.name = name
        self.help = help_
        self.labels = labels
        self.read = read
        self.head = Head(name.removesuffix("_total"), help_, type_)
        self._around = _Around(name, labels)

    def lines(self, route: str, of: Of) -> list[str]:
        """Return the line of each sample of a route, whose name is ``escaped``."""
        return self._around.lines(route, self.read(of))


class Histogram(Generic[Of]):
    """A histogram without labels of its own.

    ``bounds``: the upper bounds of its buckets, behind which there is one more. ``read``: returns how many values are in each,
    and the sum of all.
    """

    def __init__(self, name: str, help_: str, bounds: Iterable[float], read: Callable[[Of], tuple[Sequence[int], float]]) -> None:
        self.type = HISTOGRAM
        self.name = name
        self.help = help_
        self.labels: Labels = ()
        self.bounds = (*map(str, bounds), "+Inf")
        self.read = read
        self.head = Head(name, help_, HISTOGRAM)
        self._labels = [(bound,) for bound in self.bounds]
        self._bucket = _Around(f"{name}_bucket", ("le",))
        self._count = _Around(f"{name}_count", ())
        self._sum = _Around(f"{name}_sum", ())

    def lines(self, route: str, of: Of) -> list[str]:
        """Return the lines of a route, whose name is ``escaped``."""
        counts, total = self.read(of)
        within = list(accumulate(counts))
        buckets = self._bucket.lines(route, zip(self._labels, within, strict=True))
        return [*buckets, *self._count.lines(route, [((), within[-1])]), *self._sum.lines(route, [((), total)])]
