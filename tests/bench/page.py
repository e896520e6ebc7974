"""Renders docs/benchmarks.md from docs/benchmarks.json: a pure function of the figures and of the prose in notes.md."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from tests.bench import figures, goals
from tests.bench.candidates import CONTEST
from tests.bench.goals import LABELS
from tests.fleet import figures as of_fleet

HEAD: Final = """\
# Benchmarks

What it costs to put the guard between HAProxy and an agent, beside HAProxy's own TCP proxying of the same bytes. Written by
`make bench` in {minutes:.0f} minutes; all figures, those of `make bench-scale` too, are in [benchmarks.json](benchmarks.json).
Other machines, other microseconds: what can be compared are ratios.

The load generator plays HAProxy, the agent answers at once; every ACK is checked. 4x16 is 4 connections with 16 NOTIFYs of
about 128 bytes in flight on each, 8k stands for 8 KiB. All candidates are there at once and have short turns of {turn_s:g} s
behind {warm_s:g} s that do not count, there and back, A B C C B A: {turns} turns in each of {rounds} rounds of new processes. A
ratio is taken turn by turn; written are its median and the quartiles. A candidate has the last CPU for itself, load and agent
have the others; where there are only two CPUs, two workers have none for themselves. CPU is user and system time of all threads
and processes of the candidate. Each guard's own metrics are checked: all NOTIFYs counted, no anomalies, no internal errors.
Half load is half of the round trips that HAProxy carried in the same round; latency counts from the point in time at which a
NOTIFY was due. With the profile dropmore HAProxy does not pipeline, so it has no turns where it would. Under wrk, HAProxy and
wrk are on the load's CPU, and a turn takes {wrk_s:g} s.

"""
COST: Final = """\
What peers may send most dearly: nanoseconds for a byte at four sizes, and the longest step of the session. Written by
`make cost-measured`, {build}, the session alone, without sockets. That no byte costs more where there are more is judged by
counted work, which is the same on every machine (`make cost`).

"""
FLEET: Final = """\
What it takes of the event loop to look at a guard with {routes:,} routes and {sessions:,} sessions on real sockets, or to have
it read its settings again; a NOTIFY waits for one turn of the loop at most. Written by `make fleet-measured`. Each route has an
agent, one in five an agent that leaves FIN out of every tenth ACK. The history is full, and between two looks every route had
one more NOTIFY answered, so that none is open: where one is, all sessions of its route are asked since when, and with one open
at every route each look takes some 20 ms more. It is CPU time of the loop's thread, sending included: the median of all times,
and the longest turn of all times. A reload changes something of each route; its file is read in a thread beside the loop. The
goal is 200 ms for both looks together, and no turn above 5 ms. Where there are fewer than 21,200 descriptors to be had, three
routes in ten have `links.retire`: every session has its socket, and seven in ten have an agent link. Load average of the
machine meanwhile: {load}.

Python's garbage collector is not in these figures. It looks at what is new, whoever sets it off, and nobody has a turn meanwhile:
while all sessions were replaced by others, one at a time, for {collecting:.1f} ms at most.

"""
CPU_PLOT: Final = "benchmarks-cpu.svg"
UNSEEN: Final = "not measured"


def page(data: Mapping[str, Any], notes: str) -> str:
    """Return the page. ``data``: as in benchmarks.json; ``notes``: Markdown on where the time goes, "" for none."""
    there = {what: text for what, text in {**data["machine"], **data["versions"]}.items() if text != "-"}
    parts = [
        HEAD.format_map(data["settings"]),
        textwrap.fill("; ".join(f"{what}: {text}" for what, text in there.items()), 130),
        "\n",
    ]
    parts += ["\n## Goals\n\n", *_table(("what", "goal", "median (quartiles)", "met"), map(_goal, goals.rows(data)))]
    if data["shapes"]:
        parts += [f"\n## CPU per round trip\n\n![CPU per round trip, against HAProxy]({CPU_PLOT})\n\n"]
        parts += _table(*_shapes(data["shapes"]))
    if cost := data.get("cost"):
        parts += ["\n## What a byte costs\n\n", COST.format_map(cost), *_table(*_cost(cost["rows"]))]
    if fleet := data.get("fleet"):
        load = ", ".join(f"{build} {average}" for build, average in fleet["load"].items())
        parts += ["\n## 1,000 routes\n\n", FLEET.format_map({**fleet, "collecting": of_fleet.collecting_ms(fleet), "load": load})]
        parts += _table(of_fleet.HEAD, of_fleet.rows(fleet))
    return "".join(parts) + (f"\n## Where the time goes\n\n{notes.strip()}\n" if notes.strip() else "")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = list(head)
    yield "| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|\n"
    for row in rows:
        yield "| " + " | ".join(row) + " |\n"


def _goal(row: goals.Row) -> tuple[str, str, str, str]:
    """What was missed stands out; a digit more than elsewhere, so that nothing looks met that is not."""
    cells = []
    for where, spread in row.seen.items():
        text = f"{where}: {spread.written(4)}" if where else spread.written(4)
        cells.append(f"**{text}**" if where in row.missed else text)
    unseen = [where for where in row.where if where not in row.seen]
    if unseen:
        cells.append(f"{UNSEEN}: {', '.join(unseen)}" if row.seen else UNSEEN)
    if row.beside and row.seen:
        cells.append(row.beside)
    met = {True: "yes", False: "**no**", None: "-"}[row.met]
    return row.what, "-" if row.goal is None else str(row.goal), "; ".join(cells), met


def _shapes(shapes: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: HAProxy's microseconds, and by how much each other one takes more or less."""
    names = [name for name in CONTEST if any(name in turns for turns in shapes.values())]
    rows = []
    for shape, turns in shapes.items():
        base = turns.get(goals.HAPROXY)
        row = [shape]
        for name in names:
            if name not in turns:
                row.append("-")
            elif name == goals.HAPROXY or base is None:
                row.append(f"{figures.of(turns[name], 'cpu_us')} us")
            else:
                row.append(str(figures.ratio(turns[name], base, "cpu_us")))
        rows.append(row)
    return ["", *(LABELS[name] for name in names)], rows


def _cost(rows: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows: nanoseconds for a byte of each shape, by size, and the dearest step."""
    sizes = [f"{size // 1024} KiB" if size < 1 << 20 else "1 MiB" for size, *_ in next(iter(rows.values()))]
    body = [
        [name, *(f"{ns:.1f} ns" for _, ns, _ in row), f"{max(step for *_, step in row):.2f} ms"] for name, row in rows.items()
    ]
    return ["", *sizes, "longest step"], body
