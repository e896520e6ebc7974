"""The two forms of an answer to a scrape, Prometheus' text format and OpenMetrics, and who gets which.

They differ in the lines before a family's samples, and in the mark at the end; the samples are the same lines, so one rendering
makes both. No counter has a sample ``_created`` beside it: ``process_start_time_seconds`` says since when all of them count, and
Prometheus 2 would store one more series for each. Source: https://prometheus.io/docs/specs/om/open_metrics_spec/.
"""

import enum
from collections.abc import Iterable
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

from spoe_guard.observe.pieces import Pieces


@enum.unique
class Format(enum.Enum):
    """The value is the Content-Type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


_END: Final = {Format.TEXT: b"", Format.OPENMETRICS: b"# EOF\n"}
_KINDS: Final = {format_: format_.value.partition(";")[0] for format_ in Format}


def preferred(accept: str) -> Format:
    """Return the format for a scraper with that Accept header: text for whoever prefers it, or does not name the other."""
    weights = dict.fromkeys(_KINDS.values(), 0.0)
    for each in accept.split(","):
        kind, *parameters = (word.strip().lower() for word in each.split(";"))
        if kind in weights:
            weights[kind] = max(weights[kind], _weight(parameters))
    wished = weights[_KINDS[Format.OPENMETRICS]]
    return Format.OPENMETRICS if wished and wished >= weights[_KINDS[Format.TEXT]] else Format.TEXT


def _weight(parameters: Iterable[str]) -> float:
    """Return the ``q`` of an entry of Accept: 1 if there is none, 0 if it is no number."""
    for name, _equals, value in (parameter.partition("=") for parameter in parameters):
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


class _OneFamily(Collector):
    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _openmetrics(family: Metric) -> bytes:
    made: bytes = openmetrics.generate_latest(_OneFamily(family))  # type: ignore[no-untyped-call]
    return made


class Head:
    """What stands before the samples of a family: HELP and TYPE. ``name``: of a counter without ``_total``."""

    def __init__(self, name: str, help_: str, type_: str) -> None:
        bare = Metric(name, help_, type_)
        self.lines: Final = {
            Format.TEXT: generate_latest(_OneFamily(bare)),
            Format.OPENMETRICS: _openmetrics(bare).removesuffix(_END[Format.OPENMETRICS]),
        }


class Rendering:
    """The text of all families, in both formats. What both have is kept once."""

    def __init__(self) -> None:
        self._families: list[tuple[Head, Pieces]] = []

    def begin(self, head: Head) -> Pieces:
        """Begin a family, and return what its samples are added to: the same lines in both formats, each with its end."""
        samples = Pieces()
        self._families.append((head, samples))
        return samples

    def add(self, family: Metric) -> None:
        """Add a family with its samples."""
        _help, _type, samples = generate_latest(_OneFamily(family)).split(b"\n", 2)
        self.begin(Head(family.name, family.documentation, family.type)).add(samples.decode())

    def body(self, format_: Format) -> list[bytes]:
        """Return all of it in pieces, the same bytes to each who asks."""
        pieces = [piece for head, samples in self._families for piece in (head.lines[format_], *samples.taken())]
        return [*pieces, _END[format_]]
