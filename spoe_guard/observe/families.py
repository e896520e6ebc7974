"""The families of metrics that each route has samples of, and how their lines are written.

prometheus_client writes a line from a ``Sample``, with all its labels sorted and escaped each time: for a thousand routes half a
second. Here what stands before and behind the route's name is put together once, and a line is these texts and a number.
``tests/observe/test_families.py`` holds that the bytes are the library's.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Final, Generic, TypeVar

from prometheus_client.utils import floatToGoString

from spoe_guard.observe.formats import Head
from spoe_guard.observe.stats import Labels

ROUTE: Final = "route"  # the label that all of them have
COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"
_NAME: Final = "\0"  # stands for a route's name

Samples = Iterable[tuple[Labels, float]]  # the values of the labels beside ROUTE, and the number
Of = TypeVar("Of")  # what is known of a route, of which samples are read


class _Numbers(dict[float, str]):
    """How numbers are written. Most of most routes are 0, or as small, and are written once; it is emptied when it is full."""

    MOST: Final = 4096

    def __missing__(self, number: float) -> str:
        if len(self) >= self.MOST:
            self.clear()
        made: str = floatToGoString(number)  # type: ignore[no-untyped-call]
        self[number] = made
        return made


written: Final = _Numbers()


def escaped(value: str) -> str:
    """Return a label's value as it stands between quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def around(name: str, labels: Labels, values: Labels) -> tuple[str, str]:
    """Return what stands before and behind the route's name in a line. ``name``: the sample's; ``labels``: those beside ROUTE."""
    pairs = sorted(zip(labels, map(escaped, values), strict=True))
    before = "".join(f'{label}="{value}",' for label, value in pairs if label < ROUTE)
    behind = "".join(f',{label}="{value}"' for label, value in pairs if label > ROUTE)
    return f'{name}{{{before}{ROUTE}="', f'"{behind}}} '


class _Around(dict[Labels, tuple[str, str]]):
    """``around`` by the values of the labels.

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
        self[values] = made = around(self._name, self._labels, values)
        return made


def _of_a_route(lines: Iterable[tuple[str, str]]) -> str:
    """Return a format of all lines of a route, for their numbers; its name is ``_NAME``. ``lines``: as of ``around``."""
    return "".join([f"{before}{_NAME}{behind}".replace("%", "%%") + "%s\n" for before, behind in lines])


def _filled(lines: str, route: str, numbers: Iterable[float]) -> str:
    """Return the lines of a route. ``lines``: as ``_of_a_route``; ``route``: its name, ``escaped``."""
    return (lines % tuple([written[number] for number in numbers])).replace(_NAME, route)


class Family(Generic[Of]):
    """A counter or a gauge. ``name``: with ``_total``; ``labels``: those beside ROUTE; ``read``: returns a route's samples.

    ``always``: the values of the labels, where ``read`` has the same for each route, in that order.
    """

    def __init__(
        self, type_: str, name: str, help_: str, labels: Labels, read: Callable[[Of], Samples], always: Iterable[Labels] = ()
    ) -> None:
        self.type = type_
        self.name = name
        self.help = help_
        self.labels = labels
        self.read = read
        self.head = Head(name.removesuffix("_total"), help_, type_)
        self._around = _Around(name, labels)
        self._lines = _of_a_route([self._around[values] for values in always])

    def lines(self, routes: Iterable[tuple[str, Of]]) -> str:
        """Return the line of each sample of these routes. ``routes``: their names, ``escaped``, and what is known of them."""
        made = []
        for route, of in routes:
            if self._lines:
                made.append(_filled(self._lines, route, [number for _values, number in self.read(of)]))
                continue
            for values, number in self.read(of):
                before, behind = self._around[values]
                made.append(f"{before}{route}{behind}{written[number]}\n")
        return "".join(made)


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
        buckets = [around(f"{name}_bucket", ("le",), (bound,)) for bound in self.bounds]
        self._lines = _of_a_route([*buckets, around(f"{name}_count", (), ()), around(f"{name}_sum", (), ())])

    def lines(self, routes: Iterable[tuple[str, Of]]) -> str:
        """Return the lines of these routes. ``routes``: their names, ``escaped``, and what is known of them."""
        made = []
        for route, of in routes:
            counts, total = self.read(of)
            within = list(accumulate(counts))
            made.append(_filled(self._lines, route, (*within, within[-1], total)))
        return "".join(made)
