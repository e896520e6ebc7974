"""Handles a real peer that is missing here: skip and name the way to install it, or fail where CI=true promises it."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".cache"  # git-ignored; downloads and images live on between runs
SEARCH_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"  # where Debian keeps haproxy


def missing(what: str, remedy: str) -> NoReturn:
    """Skip the test with ``what`` it needs and the ``remedy``; fail it instead with CI=true."""
    reason = f"{what}: {remedy}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def need(program: str, package: str = "") -> str:
    """Return the path of ``program``; its Debian package has the same name where ``package`` is not given."""
    return shutil.which(program, path=SEARCH_PATH) or missing(f"{program} not found", f"apt-get install {package or program}")


def need_root(why: str) -> None:
    """Ask for root, ``why`` being what only root can do."""
    if os.geteuid() != 0:
        missing("not root", f"run as root to {why}")
