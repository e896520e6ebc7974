"""What all sessions may hold back: as set, or by the limit of memory there is, evenly for several processes."""

import pytest

from spoe_guard.settings import load, memory, memory_limit, total_bytes

MIB = 1024 * 1024
V1 = "9:cpu:/a\n4:memory:/outer/inner\n0::/\n"
V2 = "0::/outer/inner\n"


def limits(tmp_path, own, files):
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    return memory_limit(tmp_path / "root", tmp_path / "own")


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        (V2, {"outer/inner/memory.max": "1000"}, 1000),
        (V2, {"outer/inner/memory.max": "max", "outer/memory.max": "2000"}, 2000),
        (V2, {"outer/inner/memory.max": "3000", "outer/memory.max": "2000"}, 2000),
        (V2, {"outer/inner/memory.max": "max"}, None),
        ("0::/\n", {"memory.max": "4000"}, 4000),  # in a container
        ("0::/../../other\n", {"memory.max": "4000"}, 4000),  # of whose cgroup less is seen than there is
        (V1, {"memory/outer/inner/memory.limit_in_bytes": "1000"}, 1000),
        (V1, {"memory/outer/inner/memory.limit_in_bytes": "9223372036854771712"}, None),
        (V1, {"memory/memory.limit_in_bytes": "5000"}, 5000),
        (V1, {"memory.max": "rubbish"}, None),
        ("", {}, None),
    ],
)
def test_the_limit_of_memory_is_the_least_of_those_around(tmp_path, own, files, limit):
    assert limits(tmp_path, own, files) == limit


def test_without_cgroups_there_is_no_limit(tmp_path):
    assert memory_limit(tmp_path, tmp_path / "none") is None


@pytest.mark.parametrize(
    ("limit", "processes", "share"), [(None, 1, 256 * MIB), (256 * MIB, 1, 64 * MIB), (256 * MIB, 4, 16 * MIB)]
)
def test_by_default_sessions_hold_back_a_quarter_of_the_limit(monkeypatch, limit, processes, share):
    monkeypatch.setattr(memory, "memory_limit", lambda: limit)
    assert total_bytes(load().settings, processes) == share


@pytest.mark.parametrize(("processes", "share"), [(1, 10 * MIB), (4, 10 * MIB // 4)])
def test_what_is_set_is_divided_evenly(processes, share):
    settings = load(None, {"SPOE_GUARD_LIMITS__TOTAL_BYTES": "10m"}).settings
    assert total_bytes(settings, processes) == share
