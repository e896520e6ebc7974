"""The files of ``config/``, which come with the package: what each is for, and where they are."""

import os.path
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class Example:
    """Files and folders of ``config/`` for one purpose. ``shown`` are printed; those of ``beside`` are written with them, too."""

    name: str
    sentence: str
    shown: tuple[str, ...]
    beside: tuple[str, ...] = ()


_TABLE: Final = (
    Example("config", "every setting of spoe-guard, with its default and unit", ("spoe-guard.yaml",)),
    Example("haproxy", "haproxy.cfg and spoe.conf, and what the guard is told of them", ("haproxy",)),
    Example("systemd", "a unit, and a socket unit", ("systemd",)),
    Example(
        "compose",
        "HAProxy, guard, agent and Prometheus on one machine",
        ("docker-compose.yaml",),
        ("haproxy/from-3.1", "prometheus"),
    ),
    Example("kubernetes", "manifests: a Deployment, a sidecar of HAProxy, a PodMonitor", ("kubernetes",)),
    Example("helm", "the Helm chart", ("helm/spoe-guard",)),
    Example("alerts", "alerts for Prometheus", ("prometheus/rules.yml",), ("prometheus/prometheus.yml",)),
    Example(
        "dashboard",
        "a dashboard for Grafana: routes in detail",
        ("grafana/spoe-guard.json",),
        ("grafana/spoe-guard-fleet.json",),
    ),
    Example(
        "fleet",
        "a dashboard for Grafana: all guards, the worst first",
        ("grafana/spoe-guard-fleet.json",),
        ("grafana/spoe-guard.json",),
    ),
    Example("wireshark", "a dissector for SPOP", ("wireshark",)),
)
EXAMPLES: Final[dict[str, Example]] = {example.name: example for example in _TABLE}


class WrongUseError(Exception):
    """There is no such example, or a file is in its way. The text is one line that says what to do."""


def folder() -> Path:
    """Return the folder of the files: in the package, as it is installed; in a checkout, the one that they are copied from."""
    package = Path(__file__).parent
    installed = package / "config"
    return installed if installed.is_dir() else package.parent / "config"


def listed() -> Iterator[str]:
    """Yield a line for each example and for each of its files."""
    width = max(len(name) for name in EXAMPLES)
    for example in EXAMPLES.values():
        yield f"{example.name:<{width}}  {example.sentence}"
        yield from (f"{'':<{width}}    {file}" for file in _files(example.shown))


def printed(name: str) -> Iterator[str]:
    """Yield the text of an example, or of one file, by its path in ``config/``; of several, each below its path.

    Raises:
        WrongUseError: there is none of that name.
    """
    files = _files(EXAMPLES[name].shown) if name in EXAMPLES else [_one(name)]
    for file in files:
        heading = f"# --- {file}\n" if len(files) > 1 else ""
        yield heading + (folder() / file).read_text().removesuffix("\n")


def written(name: str, to: Path) -> Iterator[Path]:
    """Write an example, or one file, below the folder ``to``; yield each path that was written.

    Raises:
        WrongUseError: there is none of that name, or a file is there already; then nothing was written.
        OSError: a file cannot be written.
    """
    if name in EXAMPLES:
        files = _files((*EXAMPLES[name].shown, *EXAMPLES[name].beside))
        top = os.path.commonpath([os.path.dirname(file) for file in files])  # noqa: PTH120  of names, not of files
    else:
        files = [_one(name)]
        top = os.path.dirname(name)  # noqa: PTH120
    targets = {file: to / os.path.relpath(file, top or ".") for file in files}
    for target in targets.values():
        if target.exists():
            raise WrongUseError(f"--to: {target} is there already; remove it, or choose another folder")
    for file, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as opened:
            opened.write((folder() / file).read_bytes())
        yield target


def _files(names: tuple[str, ...]) -> list[str]:
    """Return the files that these names stand for, by their paths in ``config/``."""
    found: list[str] = []
    for name in names:
        path = folder() / name
        inside = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        found += [each.relative_to(folder()).as_posix() for each in inside]
    return found


def _one(name: str) -> str:
    for example in EXAMPLES.values():
        if name in _files(example.shown + example.beside):
            return name
    raise WrongUseError(
        f"example: there is no {name!a}; there are {', '.join(EXAMPLES)}, and the files that `spoe-guard example` lists"
    )
