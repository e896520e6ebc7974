"""docs/benchmarks.md from docs/benchmarks.json: a pure function of the figures and of the notes written by hand."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from tests.bench import figures, goals
from tests.bench.figures import Told, number
from tests.bench.scale import rows as scale_rows

INTRO: Final = """\
# Benchmarks

What it costs to put the guard between HAProxy and an agent, against nothing in between and against other proxies that could
stand there. Written by `make bench` (with `SECONDS=1` 33 minutes) and `make bench-scale`. `make bench ROUNDS=3 SECONDS=1
SHAPES=1x1,16x1 CANDIDATES=haproxy,guard-pure-enforce` measures a part of it and leaves this page alone. All figures are in
[benchmarks.json](benchmarks.json). Only ratios of one run say something: other machines, other microseconds.

- The load generator plays HAProxy, the agent answers at once; both are written for this in Go (tests/bench/go), each on one
  thread. Every ACK is checked: it answers a NOTIFY that is open on its connection, once, with what that NOTIFY asked about.
- A shape `4x16` is 4 connections with 16 NOTIFYs open on each at any time; a NOTIFY has about 128 bytes, with `8k` 8 KiB.
- The candidates run in turn, there and back: A B C C B A, each time as a new process, because one keeps what luck it has with
  its memory. A figure is the median of {rounds} rounds of {seconds:g} s, with the lowest and the highest in brackets. Ratios are
  taken round by round.
- Where a goal is a few percent, guard against guard, they are seen side by side: all there at once, with {turns} turns of
  {turn_seconds:g} s each, there and back, in {rounds} rounds of new processes. A round's ratio is the median of its turns'.
- The candidate has a CPU for itself; load and agent have the others, or share the other one. CPU is user and system time of
  all threads and processes of the candidate, as the kernel counts it between the ends of the time that counts; memory is
  VmHWM of all its processes.
- HAProxy runs with `mode tcp` and one thread, nginx with `stream` and one worker, toxiproxy without toxics, mitmproxy in mode
  `reverse:tcp`; none of them knows what a frame is.

"""
CPU_PLOT: Final = "benchmarks-cpu.svg"
LATENCY_PLOT: Final = "benchmarks-latency.svg"
HALF: Final = """
## Latency at half load

NOTIFYs come at fixed points in time, half as many as HAProxy carries in that shape when it is never let rest. What each waited
is counted from the point in time at which it was due, whether or not it could be sent then. Added: what is above nothing in
between.
"""
REAL: Final = """
## With real HAProxy

wrk asks an HAProxy with a SPOE filter, one thread, on {connections} connections; the agent's answer decides on the status of
the response, and each was 200. CPU is that of the guard alone, per request.

"""


def page(data: Mapping[str, Any], notes: str) -> str:
    """Return the page. ``data``: as in benchmarks.json; ``notes``: Markdown, "" for none."""
    labels = data["labels"]
    settings = data["settings"]
    parts = [INTRO.format(**settings)]
    parts += _table(("", ""), [*data["machine"].items(), *data["versions"].items()])
    parts += ["\n## Goals\n\n"]
    met = [
        (each.what, f"<= {each.most:.2f}", str(each.seen), "yes" if each.met else "**no**")
        for each in goals.outcomes(data, labels)
    ]
    parts += _table(("ratio", "goal", "seen", "met"), met)
    parts += [f"\n## By shape\n\n![CPU per round trip]({CPU_PLOT})\n\n![Latency]({LATENCY_PLOT})\n"]
    for shape, told in data["shapes"].items():
        parts += [f"\n### {shape}\n\n", *_shape(told, labels)]
    parts += [HALF, *(line for shape, half in data["half_load"].items() for line in _half(shape, half, labels))]
    if data["real"]:
        parts += [REAL.format(connections=settings["wrk_connections"]), *_real(data["real"], labels)]
    if data.get("scale"):
        parts += [
            f"\n## Scale\n\nThe {data['scale']['build']} build.\n\n",
            *_table(("what", "goal", "seen"), scale_rows(data["scale"])),
        ]
    return "".join(parts) + (f"\n## Notes\n\n{notes.strip()}\n" if notes.strip() else "")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = list(head)
    yield "| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|\n"
    for row in rows:
        yield "| " + " | ".join(row) + " |\n"


def _shape(told: Mapping[str, Told], labels: Mapping[str, str]) -> Iterator[str]:
    head = ("", "round trips/s", "p50, us", "p99, us", "p99.9, us", "CPU, us per round trip", "against HAProxy", "peak RSS, MiB")
    rows = []
    for name, seen in told.items():
        cells = [labels[name], *(str(figures.of(seen, key)) for key in ("per_second", "p50_us", "p99_us", "p999_us", "cpu_us"))]
        against = str(figures.ratio(seen, told["haproxy"], "cpu_us")) if "haproxy" in told else "-"
        rows.append([*cells, against, number(seen["most_kib"] / 1024)])
        if name == "direct":  # it uses none; what the two ends use shows how far they are from being what is measured
            ends = [figures.of(seen, key).median for key in ("agent_cpu_us", "load_cpu_us")]
            rows[-1][5:] = ["agent {}, load {}".format(*map(number, ends)), "-", "-"]
    return _table(head, rows)


def _half(shape: str, half: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[str]:
    told = half["candidates"]
    yield f"\n### {shape}, {number(half['rate'])} NOTIFYs/s\n\n"
    rows = []
    for name, seen in told.items():
        mine = [str(figures.of(seen, key)) for key in ("p50_us", "p99_us")]
        rows.append([labels[name], *mine, *(str(figures.added(seen, told["direct"], key)) for key in ("p50_us", "p99_us"))])
    yield from _table(("", "p50, us", "p99, us", "added p50, us", "added p99, us"), rows)


def _real(real: Mapping[str, Mapping[str, Told]], labels: Mapping[str, str]) -> Iterator[str]:
    rows = []
    for version, told in real.items():
        for name, seen in told.items():
            keys = ("per_second", "p50_us", "p99_us", "p999_us", "cpu_us", "haproxy_cpu_us")
            rows.append([version, labels[name], *(str(figures.of(seen, key)) for key in keys)])
    head = (
        "HAProxy",
        "",
        "requests/s",
        "p50, us",
        "p99, us",
        "p99.9, us",
        "CPU, us per request",
        "HAProxy's CPU, us per request",
    )
    return _table(head, rows)
