"""The parts of the cost fuzzer: what a play may cost, and that a play which costs more is found and shown."""

import itertools
import subprocess
import sys

import pytest

from tests.builds import COMPILED
from tests.fuzz.case import Case, encode
from tests.fuzz.corpus import seeds
from tests.fuzz.price import A_BYTE, A_STEP, FIXED, Price, price
from tests.peers import ROOT

pytest.importorskip("atheris")


@pytest.mark.parametrize(("more", "dear"), [(0, False), (1, True)])
def test_a_play_may_cost_what_its_bytes_and_steps_are_worth(more: int, dear: bool) -> None:
    found = Price(FIXED + 100 * A_BYTE + 3 * A_STEP + more, 100, 3)
    assert (found.share > 1) is dear


def test_the_price_of_a_play_counts_its_bytes_and_steps() -> None:
    """It does not count the play's own checks, of which there is one for each step."""
    ticks = itertools.count(0, 64)
    [case, *_] = seeds().values()
    found = price(case, lambda: next(ticks), 64)
    assert found.size > 100
    assert found.steps > 3
    assert found.work == found.steps + 1
    assert str(found).startswith(f"{found.work} of work for ")


def run(*asked: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.cost", *asked], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(300)
@pytest.mark.skipif(COMPILED, reason="work is counted in the source")
def test_no_seed_costs_more_than_it_may_and_a_file_is_shown(tmp_path) -> None:
    done = run("--seeds")
    assert done.returncode == 0, done.stdout + done.stderr
    assert 0.05 < float(done.stdout.splitlines()[-1].split()[0]) < 1
    (tmp_path / "play").write_bytes(encode(Case()))
    shown = run(str(tmp_path / "play"))
    assert shown.returncode == 0, shown.stderr
    assert "of work for 0 bytes" in shown.stdout
