"""The number of processes for ``workers: 0``."""

import os

import pytest

from spoe_guard.settings import usable_cores

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("100001 100000", min(2, HERE)),
        (f"{HERE * 100000} 100000", HERE),
        (f"{HERE * 100000 + 1} 100000", HERE),
        ("max 100000", HERE),
        ("100000 0", HERE),
        ("", HERE),
        (None, HERE),
    ],
)
def test_a_core_is_counted_where_it_may_be_used(tmp_path, quota, cores):
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(f"{quota}\n")
    assert usable_cores(file) == cores
