"""The plot of docs/benchmarks.md as SVG: the same figures give the same bytes, and it is readable on light and dark pages."""

import io
from collections.abc import Mapping
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from tests.bench import figures
from tests.bench.candidates import CONTEST
from tests.bench.goals import HAPROXY, LABELS

INK: Final = "#808080"  # about as far from white as from GitHub's dark
STYLE: Final = {
    "svg.hashsalt": "benchmarks",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}
LOOKS: Final = dict(  # colours that are told apart on both pages, and marks for those who do not tell them apart
    zip(
        (name for name in CONTEST if name != HAPROXY),
        (
            ("#bf8700", "s"),
            ("#8250df", "^"),
            ("#2f81f7", "o"),
            ("#cf222e", "D"),
            ("#1a7f37", "v"),
            ("#e16f24", "P"),
            ("#0e8a9c", "X"),
        ),
        strict=True,
    )
)
WIDTH: Final = 0.8  # of the place a shape has, that its candidates take


def cpu(data: Mapping[str, Any]) -> str:
    """Return CPU per round trip against HAProxy, by shape and candidate: the median, and a line between the quartiles."""
    shapes = {shape: turns for shape, turns in data["shapes"].items() if HAPROXY in turns}
    names = [name for name in LOOKS if any(name in turns for turns in shapes.values())]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(1, color=INK, linewidth=1)
        for place, name in enumerate(names):
            colour, mark = LOOKS[name]
            offset = WIDTH * ((place + 0.5) / len(names) - 0.5)
            labelled = False
            for at, turns in enumerate(shapes.values()):
                if name not in turns:
                    continue
                seen = figures.ratio(turns[name], turns[HAPROXY], "cpu_us")
                axes.plot([at + offset] * 2, [seen.q1, seen.q3], color=colour, linewidth=2)
                label = None if labelled else LABELS[name]
                axes.plot(at + offset, seen.median, mark, color=colour, markersize=5, label=label, linestyle="none")
                labelled = True
        axes.set_title(f"CPU per round trip, against {LABELS[HAPROXY]} (line: from quartile to quartile)", fontsize=11)
        axes.set_yscale("log")  # twice as much and half as much are as far from the same
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.25, 1.5, 2, 3, 5, 8)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks(range(len(shapes)), list(shapes))
        axes.grid(axis="y", which="both", color=INK, alpha=0.25, linewidth=0.5)
        axes.patch.set_alpha(0)
        if names:
            axes.legend(ncols=2, fontsize=8, framealpha=0, labelcolor=INK)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return out.getvalue()
