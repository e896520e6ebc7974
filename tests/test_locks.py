"""The locks of .ci/locks: what pyproject.toml asks for, one version each, with hashes, and no index of anybody's."""

import re
import tomllib
from dataclasses import dataclass

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.peers import ROOT

LOCKS = ROOT / ".ci/locks"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WANTED = {
    "runtime.txt": PROJECT["project"]["dependencies"],
    "build.txt": PROJECT["build-system"]["requires"],
    "sbom.txt": PROJECT["dependency-groups"]["sbom"],
}
PIN = re.compile(r"^(\S+)==(\S+)(?: ; [^\\]+)? \\$", re.MULTILINE)
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")
STALE = "is out of date: make lock"

# The Debian package: nobody can add an extra to it later.
WANTED["package.txt"] = [*WANTED["runtime.txt"], *PROJECT["project"]["optional-dependencies"]["top"]]


@dataclass
class Pin:
    version: str
    hashes: list[str]
    needed_by: list[str]


def read(text: str) -> dict[str, Pin]:
    """Return the pins of a lock by name."""
    pins: dict[str, Pin] = {}
    for block in re.split(r"\n(?=[^\s#])", text)[1:]:
        name, version = PIN.match(block).groups()
        hashes = [line for line in block.splitlines() if HASH.fullmatch(line)]
        needed_by = re.findall(r"^    #(?: via|  ) +(\S+)", block, re.MULTILINE)
        pins[canonicalize_name(name)] = Pin(version, hashes, needed_by)
    return pins


def faults(lock: str, requirements: list[str]) -> list[str]:
    """Return what a lock has not as ``requirements`` ask for it."""
    pins, wanted = read(lock), {canonicalize_name(one.name): one for one in map(Requirement, requirements)}
    found = [f"{name} {STALE}" for name, one in wanted.items() if name not in pins or pins[name].version not in one.specifier]
    for name, pin in pins.items():
        others = [other for other in pin.needed_by if canonicalize_name(other) in pins]
        if name not in wanted and not others:
            found.append(f"{name}: nobody asks for it, the lock {STALE}")
        if not pin.hashes:
            found.append(f"{name} has no hash")
    return found


@pytest.mark.parametrize("name", WANTED)
def test_a_lock_has_what_is_asked_for_and_nothing_else(name):
    assert faults((LOCKS / name).read_text(), WANTED[name]) == []


@pytest.mark.parametrize("name", WANTED)
def test_a_lock_names_no_index_no_file_and_no_machine(name):
    lines = (LOCKS / name).read_text().splitlines()
    plain = re.compile(r"#.*|\S+==\S+( ; [^\\]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|    # .*")
    assert [line for line in lines if not plain.fullmatch(line)] == []
    assert [line for line in lines if re.search(r"://|--index|--find|@ ", line)] == []


def test_the_image_installs_by_the_locks_alone():
    installs = re.findall(r"pip (?:install|wheel) .*", (ROOT / "Dockerfile").read_text())
    assert [line for line in installs if "--require-hashes" not in line and "--no-deps" not in line] == []
    assert [name for name in WANTED.keys() - {"package.txt"} if not any(f".ci/locks/{name}" in line for line in installs)] == []


GOOD = """# head
a==1.5 \\
    --hash=sha256:0 \\
    --hash=sha256:0
    # via x (pyproject.toml)
b==2 ; os_name == 'nt' \\
    --hash=sha256:0
    # via
    #   a
    #   c
""".replace(":0", ":" + 64 * "0")


@pytest.mark.parametrize(
    ("lock", "asked", "said"),
    [
        (GOOD, ["A>=1,<2"], []),
        (GOOD, ["a>=1,<2", "b>=2"], []),
        (GOOD, ["a>=2"], [f"a {STALE}"]),
        (GOOD, ["a>=1", "d"], [f"d {STALE}"]),
        (GOOD, [], [f"a: nobody asks for it, the lock {STALE}"]),
        (GOOD.replace("#   a", "#   z"), ["a"], [f"b: nobody asks for it, the lock {STALE}"]),
        (re.sub(r"(b==.*)\n    --hash.*", r"\1", GOOD), ["a"], ["b has no hash"]),
    ],
)
def test_a_lock_that_is_out_of_date_is_told(lock, asked, said):
    assert faults(lock, asked) == said
