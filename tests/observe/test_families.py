"""The lines that the guard writes itself are, byte for byte, what prometheus_client writes."""

import math

import pytest
from prometheus_client.exposition import generate_latest as text
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed_text
from prometheus_client.registry import CollectorRegistry

from spoe_guard.core.terms.anomalies import Anomaly
from spoe_guard.observe.families import COUNTER, GAUGE, HISTOGRAM, ROUTE, Family, Histogram, _Around, _Numbers, escaped, written
from spoe_guard.observe.formats import Format, Rendering
from spoe_guard.observe.live.states import State, Verdict
from spoe_guard.observe.live.status import Place
from spoe_guard.observe.metrics import FAILED, FAMILIES, INFO, OLDEST, STATE
from spoe_guard.observe.observer import GuardObserver
from tests.observe.test_metrics import AGENT, OTHER, observing, one_of_everything

HOSTILE = ("a", 'b"\\\n', "\\n", '{route="x"} 1 # ', "ä€\U0001f600", " ", "%s{0}")
NUMBERS = (
    0,
    1,
    -7,
    999_999,
    1_000_000,
    1_234_567,
    10**21,
    2**63,
    0.1,
    1e-7,
    1e6 + 0.5,
    123456789.123,
    math.inf,
    -math.inf,
    math.nan,
)
LABELS = ("agent", "zone", "le", "route_")  # before ROUTE and behind it


class One(CollectorRegistry):
    def __init__(self, family) -> None:
        super().__init__()
        self._family = family

    def collect(self):
        return [self._family]


def the_librarys(family, read: dict):
    """Return the same family as the library's. ``read``: what its samples are read from, by route."""
    labels = [ROUTE, *family.labels]
    if family.type == HISTOGRAM:
        made = HistogramMetricFamily(family.name, family.help, labels=labels)
        for route, of in read.items():
            counts, total = family.read(of)
            within = [(bound, sum(counts[: at + 1])) for at, bound in enumerate(family.bounds)]
            made.add_metric([route], within, total)
        return made
    made = {COUNTER: CounterMetricFamily, GAUGE: GaugeMetricFamily}[family.type](family.name, family.help, labels=labels)
    for route, of in read.items():
        for values, value in family.read(of):
            made.add_metric([route, *values], value)
    return made


def ours(family, read: dict, format_: Format) -> bytes:
    rendering = Rendering()
    samples = rendering.begin(family.head)
    samples.add(family.lines([(escaped(route), of) for route, of in read.items()]))
    return b"".join(rendering.body(format_))


def assert_same(family, read: dict) -> None:
    in_text, in_openmetrics = (ours(family, read, format_) for format_ in Format)
    assert in_text == text(One(the_librarys(family, read)))
    assert in_openmetrics == openmetrics(One(the_librarys(family, read)))
    expected = {(sample.name, *sorted(sample.labels.items())) for sample in the_librarys(family, read).samples}
    for parsed, made in ((parsed_text, in_text), (parsed_openmetrics, in_openmetrics)):
        (found,) = parsed(made.decode())
        assert {(sample.name, *sorted(sample.labels.items())) for sample in found.samples} == expected


@pytest.mark.parametrize("type_", [COUNTER, GAUGE])
@pytest.mark.parametrize("count", range(len(LABELS) + 1))
def test_lines_of_any_labels_are_the_librarys(type_, count):
    family = Family(
        type_, "some_total" if type_ == COUNTER else "some", 'Of "some" \\ more.\nAnd a line.', LABELS[:count], lambda s: s
    )
    for values in ([(each,) * count for each in HOSTILE], [HOSTILE[at : at + count] for at in range(3)]):
        assert_same(family, {route: [(value, 1.5) for value in dict.fromkeys(values)] for route in HOSTILE})


def test_a_histogram_is_the_librarys():
    family = Histogram("took_seconds", "Time.", (0.00025, 0.5, 1.0, 10.0), lambda counts: (counts, sum(counts) / 7))
    assert_same(family, {route: [0, 3, 0, 10**6, at] for at, route in enumerate(HOSTILE)})


def test_numbers_are_written_as_the_library_does():
    family = Family(GAUGE, "some", "Some.", (), lambda value: [((), value)])
    read = {str(at): value for at, value in enumerate(NUMBERS)}
    for _ in range(2):  # the second time they are remembered
        assert ours(family, read, Format.TEXT) == text(One(the_librarys(family, read)))
    assert written[7] == written[7.0]


@pytest.fixture
def observer(lines, clock) -> GuardObserver:
    """Routes that have counted something of each kind; their names and their agents' have to be escaped."""
    observer = observing(HOSTILE, lines.log(level="error"), 1, clock)
    for route in HOSTILE:
        one_of_everything(observer, route)
        observer.routes[route].serve([AGENT, OTHER, *HOSTILE])
        for anomaly in Anomaly:
            observer.routes[route].anomalies["agent", anomaly.value, "drop", "true"] += 1
    return observer


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_each_family_is_the_librarys(observer, family):
    assert_same(family, dict(observer.routes))
    assert_same(family, {})


def test_states_and_settings_are_the_librarys():
    read = {
        route: Verdict(state, "", asked=3, failed=at, waits_s=at / 7)
        for at, (route, state) in enumerate(zip(HOSTILE, State, strict=False))
    }
    assert_same(STATE, read)
    assert_same(FAILED, read)
    assert_same(OLDEST, read)
    assert_same(INFO, {route: Place("", route, "observe", route, "{set: error}") for route in HOSTILE})


def test_what_is_forgotten_for_want_of_room_is_written_the_same(monkeypatch):
    family = Family(GAUGE, "some", "Some.", ("agent",), lambda names: [((name,), 1) for name in names])
    monkeypatch.setattr(_Around, "MOST", 7)
    for most in (7, 8):
        names = [str(at) for at in range(most)]
        assert_same(family, {"a": names, "b": names})
        assert len(family._around) <= 7


def test_no_more_numbers_are_remembered_than_there_is_room_for(monkeypatch):
    family = Family(GAUGE, "some", "Some.", (), lambda value: [((), value)])
    monkeypatch.setattr(_Numbers, "MOST", 7)
    written.clear()
    assert_same(family, {str(at): at / 7 for at in range(50)})
    assert 0 < len(written) <= 7
