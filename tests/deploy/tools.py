"""``make helm`` (``python -m tests.deploy.tools``): fetches what pip cannot install to check what is deployed."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.agents.build import go_run
from tests.peers import CACHE

HOME: Final = CACHE / "helm"
HELM: Final = HOME / "helm"
ACTIONLINT: Final = HOME / "actionlint"  # for .github/workflows; what pip has of that name downloads a program from elsewhere
CRDS: Final = HOME / "crds"  # what the Prometheus operator adds to Kubernetes, as it is installed
SOURCES: Final = Path(__file__).parent  # with a folder for each program, in which go.sum pins it

_OPERATOR: Final = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
_OPERATOR_SUM: Final = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="


def fresh(made: Path, *sources: Path) -> bool:
    """Whether it is there and none of its sources is younger."""
    return made.exists() and made.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


def helm() -> None:
    """Build Helm.

    Raises:
        OSError: it cannot be done; the message is what Go said.
    """
    _build(HELM, "helm.sh/helm/v3/cmd/helm")


def actionlint() -> None:
    """Build actionlint.

    Raises:
        OSError: it cannot be done; the message is what Go said.
    """
    _build(ACTIONLINT, "github.com/rhysd/actionlint/cmd/actionlint")


def _build(program: Path, package: str) -> None:
    sources = SOURCES / program.name
    if fresh(program, *sources.iterdir()):
        return
    HOME.mkdir(parents=True, exist_ok=True)
    quickly = ("-gcflags=all=-N -l", "-ldflags=-s -w")  # without optimizing: two thirds of the time, and fast enough
    go_run(HOME, "build", *quickly, "-o", program, package, cwd=sources)
    program.touch()


def crds() -> None:
    """Fetch the operator's CustomResourceDefinitions.

    Raises:
        OSError: they cannot be had, or are not those they were.
    """
    if fresh(CRDS, Path(__file__)):
        return
    HOME.mkdir(parents=True, exist_ok=True)
    module = json.loads(go_run(HOME, "mod", "download", "-json", _OPERATOR, cwd=HOME))
    if module["Sum"] != _OPERATOR_SUM:
        raise OSError(f"{_OPERATOR} is {module['Sum']}, not {_OPERATOR_SUM}")
    shutil.rmtree(CRDS, ignore_errors=True)
    shutil.copytree(Path(module["Dir"]) / "example/prometheus-operator-crd", CRDS, copy_function=shutil.copyfile)
    CRDS.touch()


def main() -> int:
    """Make what is not there; the exit code is the number of those that cannot be had."""
    failed = 0
    makers: tuple[Callable[[], None], ...] = (crds, helm, actionlint)
    for make in makers:
        began = time.monotonic()
        try:
            make()
            print(f"{make.__name__:10}{time.monotonic() - began:.1f} s", flush=True)
        except OSError as error:
            failed += 1
            print(f"{make.__name__} cannot be had: {error}")
    shutil.rmtree(HOME / "go", ignore_errors=True)  # a gigabyte, of which nothing else is built
    return failed


if __name__ == "__main__":
    sys.exit(main())
