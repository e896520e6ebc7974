"""The plots of docs/benchmarks.md as SVG: the same figures give the same bytes, and both a light and a dark page carry them."""

import io
from collections.abc import Callable, Mapping
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tests.bench import figures
from tests.bench.figures import Told

INK: Final = "#808080"  # about as far from white as from GitHub's dark
GUARD: Final = "#2f81f7"
OTHER: Final = "#bf8700"
STYLE: Final = {
    "svg.hashsalt": "benchmarks",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}
COLUMNS: Final = 2
Draw = Callable[[Axes, float, Told, str], None]


def _cpu(axes: Axes, at: float, told: Told, colour: str) -> None:
    seen = figures.of(told, "cpu_us")
    axes.plot([seen.low, seen.high], [at, at], color=colour, linewidth=2)
    axes.plot(seen.median, at, "o", color=colour, markersize=5)
    axes.annotate(figures.number(seen.median), (seen.high, at), (6, -3), textcoords="offset points", fontsize=8)


def _latency(axes: Axes, at: float, told: Told, colour: str) -> None:
    medians = [figures.of(told, key).median for key in ("p50_us", "p99_us", "p999_us")]
    axes.plot(medians, [at] * 3, color=colour, linewidth=1)
    for median, mark in zip(medians, "os^", strict=True):
        axes.plot(median, at, mark, color=colour, markersize=5)


def _plot(data: Mapping[str, Any], title: str, draw: Draw, without: tuple[str, ...] = ()) -> str:
    shapes = data["shapes"]
    lines = -(-len(shapes) // COLUMNS)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 0.5 + 2.2 * lines), layout="constrained")
        figure.suptitle(title, fontsize=11)
        for number, (shape, all_told) in enumerate(shapes.items(), 1):
            told = {name: seen for name, seen in all_told.items() if name not in without}
            axes = figure.add_subplot(lines, COLUMNS, number)
            axes.set_title(shape, fontsize=10)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(
                FuncFormatter(lambda value, _: f"{value:g}" if value < 10_000 else f"{value / 1000:g}k")
            )
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_yticks(range(len(told)), [data["labels"][name] for name in told])
            axes.invert_yaxis()
            axes.grid(axis="x", which="both", color=INK, alpha=0.25, linewidth=0.5)
            axes.margins(x=0.12, y=0.1)
            axes.patch.set_alpha(0)
            for at, (name, seen) in enumerate(told.items()):
                draw(axes, at, seen, GUARD if name.startswith("guard") else OTHER)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return out.getvalue()


def cpu(data: Mapping[str, Any]) -> str:
    """Return the CPU per round trip of each candidate in each shape: the median, with the lowest and the highest round."""
    return _plot(data, "CPU per round trip, us (median; line: lowest to highest round)", _cpu, without=("direct",))


def latency(data: Mapping[str, Any]) -> str:
    """Return p50, p99 and p99.9 of each candidate in each shape, the medians of the rounds."""
    return _plot(data, "Latency, us: p50 (dot), p99 (square), p99.9 (triangle)", _latency)
