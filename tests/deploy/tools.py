"""``make helm`` (``python -m tests.deploy.tools``): fetches tools for the manifests that pip cannot install, into .cache/helm."""

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
CRDS: Final = HOME / "crds"  # what the Prometheus operator adds to Kubernetes, as it is installed
SOURCES: Final = Path(__file__).parent / "helm"

_OPERATOR: Final = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
_OPERATOR_SUM: Final = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="


def fresh(made: Path, *sources: Path) -> bool:
    """Whether it is there and none of its sources is younger."""
    return made.exists() and made.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


def helm() -> None:
    """Build Helm from what go.sum pins.

    Raises:
        OSError: it cannot be done; the message is what Go said.
    """
    if fresh(HELM, *SOURCES.iterdir()):
        return
    HOME.mkdir(parents=True, exist_ok=True)
    quickly = ("-gcflags=all=-N -l", "-ldflags=-s -w")  # without optimizing: two thirds of the time, and fast enough
    go_run(HOME, "build", *quickly, "-o", HELM, "helm.sh/helm/v3/cmd/helm", cwd=SOURCES)
    HELM.touch()
    shutil.rmtree(HOME / "go")  # a gigabyte, of which nothing else is built


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
    shutil.rmtree(HOME / "go")


def main() -> int:
    """Make what is not there; the exit code is the number of those that cannot be had."""
    failed = 0
    makers: tuple[Callable[[], None], ...] = (crds, helm)
    for make in makers:
        began = time.monotonic()
        try:
            make()
            print(f"{make.__name__:10}{time.monotonic() - began:.1f} s", flush=True)
        except OSError as error:
            failed += 1
            print(f"{make.__name__} cannot be had: {error}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
