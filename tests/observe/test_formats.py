"""Who gets which format of /metrics, and that both say the same."""

import math

import pytest
from prometheus_client.exposition import generate_latest as text
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed_text
from prometheus_client.registry import CollectorRegistry

from spoe_guard.observe.formats import Format, Rendering, preferred

# What Prometheus sends: 2.42 of Debian, and 3.
PROMETHEUS_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"  # fmt: skip  # noqa: E501
PROMETHEUS_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,/;q=0.1"  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("accept", "format_"),
    [
        (PROMETHEUS_2, Format.OPENMETRICS),
        (PROMETHEUS_3, Format.OPENMETRICS),
        ("Application/OpenMetrics-Text; Q=0.2", Format.OPENMETRICS),
        ("application/openmetrics-text, text/plain", Format.OPENMETRICS),
        ("application/openmetrics-text;q=0.5, text/plain", Format.TEXT),
        ("text/plain;version=0.0.4;q=0.5, application/openmetrics-text;q=0.4", Format.TEXT),
        ("application/openmetrics-text;q=0", Format.TEXT),
        ("application/openmetrics-text;q=much", Format.TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Format.TEXT),
        ("*/*", Format.TEXT),
        ("", Format.TEXT),
        (",;=,;q", Format.TEXT),
    ],
)
def test_openmetrics_is_for_who_names_it_and_does_not_prefer_text(accept, format_):
    assert preferred(accept) is format_


def families():
    """Return a family of each type, with everything that has to be escaped."""
    counter = CounterMetricFamily("some_total", 'Of "some" \\ more.\nAnd a line.', labels=["route"])
    for value in ("a", 'b"\\\n'):
        counter.add_metric([value], 3)
    yield counter
    yield GaugeMetricFamily("nothing", "No sample.", labels=["route"])
    gauge = GaugeMetricFamily("values", "Numbers.", labels=["route"])
    for number in (0.1, 1e21, math.inf, math.nan, -7):
        gauge.add_metric([str(number)], number)
    yield gauge
    histogram = HistogramMetricFamily("took_seconds", "Time.", labels=["route"])
    histogram.add_metric(["a"], [("0.00025", 1), ("+Inf", 2)], 0.5)
    yield histogram


class Whole(CollectorRegistry):
    def collect(self):
        return families()


def whole(rendering: Rendering, format_: Format) -> bytes:
    return b"".join(rendering.body(format_))


def test_both_formats_are_what_the_library_makes_of_the_whole():
    rendering = Rendering()
    for family in families():
        rendering.add(family)
    assert whole(rendering, Format.TEXT) == text(Whole())
    assert whole(rendering, Format.OPENMETRICS) == openmetrics(Whole())


def test_nothing_at_all_is_a_whole_answer_too():
    assert whole(Rendering(), Format.TEXT) == b""
    assert whole(Rendering(), Format.OPENMETRICS) == b"# EOF\n"


def samples(found):
    return {(sample.name, *sorted(sample.labels.items())): str(sample.value) for family in found for sample in family.samples}


def test_both_formats_have_the_same_samples():
    rendering = Rendering()
    for family in families():
        rendering.add(family)
    in_text, in_openmetrics = (whole(rendering, format_).decode() for format_ in Format)
    assert samples(parsed_text(in_text)) == samples(parsed_openmetrics(in_openmetrics))
