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


class Rendering:
    """The text of all families, in both formats. What both have is kept once."""

    def __init__(self) -> None:
        self._parts: dict[Format, list[bytes]] = {format_: [] for format_ in Format}
        self._whole: dict[Format, bytes] = {}
        self._last = ""  # the family that was added last

    def add(self, family: Metric) -> None:
        """Add a family, or one more part of the last one: HELP and TYPE stand once, before its first part."""
        help_, type_, samples = generate_latest(_OneFamily(family)).split(b"\n", 2)
        if family.name != self._last:
            bare = Metric(family.name, family.documentation, family.type, family.unit)
            head = _openmetrics(bare).removesuffix(_END[Format.OPENMETRICS])
            self._parts[Format.TEXT].append(b"%s\n%s\n" % (help_, type_))
            self._parts[Format.OPENMETRICS].append(head)
            self._last = family.name
        for parts in self._parts.values():
            parts.append(samples)

    def whole(self, format_: Format) -> bytes:
        """Return all of it, the same bytes to each who asks."""
        if format_ not in self._whole:
            self._whole[format_] = b"".join((*self._parts[format_], _END[format_]))
        return self._whole[format_]
