"""Captures on disk stay within bounds, are never partial files, and a failing disk costs captures alone."""

import errno
import fcntl
import os
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from spoe_guard.capture.files.read import read
from spoe_guard.capture.record import store as store_module
from spoe_guard.capture.record.store import Folder, Store
from tests.capture.scenes import Recorded, end
from tests.peers import need_root

DEADLINE_S = 10.0


def takes(count):
    recorded = Recorded(rate=(1000, 1.0))
    for _ in range(count):
        session = recorded.session()
        recorded.round_trips(session, 2)
        recorded.go_wrong(session)
        end(session, recorded.now)
    return recorded.takes


class Kept:
    """A store in ``path`` and what it said."""

    def __init__(self, path, files=100, max_bytes=1 << 30, **how):
        self.stats = Recorded().stats
        self.sent = []
        self.store = Store(Folder(path, files, max_bytes), self.stats, lambda *line: self.sent.append(line), **how)

    def write(self, *wanted):
        for take in wanted:
            deadline = time.monotonic() + DEADLINE_S
            while not self.store.submit(take):
                assert time.monotonic() < deadline
                time.sleep(0.001)
        assert self.store.close(DEADLINE_S)
        return self

    def counts(self):
        dropped = {reason: count for (reason,), count in self.stats["default"].captures_dropped.items() if count}
        return self.stats["default"].captures_written, dropped


def test_a_file_is_readable_by_its_owner_alone_and_whole(tmp_path):
    kept = Kept(tmp_path).write(*takes(1))
    [file] = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert kept.counts() == (1, {})
    assert kept.sent == [
        ("info", "capture_written", {
            "route": "default", "session": 1, "anomaly": "runt_frame", "file": str(file), "bytes": file.stat().st_size,
        })
    ]  # fmt: skip
    assert len(read(str(file))) == 1


@pytest.mark.parametrize(("made", "left"), [(3, 3), (4, 3), (7, 3)])
def test_the_newest_so_many_files_stay(tmp_path, made, left):
    Kept(tmp_path, files=3).write(*takes(made))
    sessions = sorted(int(path.name.split("-")[4]) for path in tmp_path.iterdir())
    assert sessions == list(range(made - left + 1, made + 1))


def test_room_is_made_while_no_other_process_writes(tmp_path, monkeypatch):
    *first, last = takes(3)
    Kept(tmp_path, files=3).write(*first)
    waits, flock = threading.Event(), fcntl.flock

    def asked(*how):
        waits.set()
        return flock(*how)

    monkeypatch.setattr(store_module.fcntl, "flock", asked)
    monkeypatch.setattr(store_module, "_LOCK_TRIES", 10_000)
    kept = Kept(tmp_path, files=3)
    others = os.open(tmp_path, os.O_RDONLY)
    flock(others, fcntl.LOCK_EX)
    assert kept.store.submit(last)
    assert waits.wait(DEADLINE_S)
    (tmp_path / "spoe-guard-20260101T000000.000000Z-default-1-runt_frame-1.pcapng").touch()  # of another process
    os.close(others)
    assert kept.store.close(DEADLINE_S)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("tries", [1, 2])
def test_whoever_keeps_the_folder_locked_costs_no_capture(tmp_path, monkeypatch, tries):
    monkeypatch.setattr(store_module, "_LOCK_TRIES", tries)
    others = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(others, fcntl.LOCK_EX)
    try:
        assert Kept(tmp_path).write(*takes(2)).counts() == (2, {})
    finally:
        os.close(others)


OLDEST = "spoe-guard-20000101T000000.000000Z-default-1-runt_frame-1.pcapng"


def sparse(path):
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert path.stat().st_blocks == 0


def of_somebody_else(path):
    need_root("give a file away")
    path.write_bytes(bytes(1 << 20))
    os.chown(path, 65534, 65534)


def with_another_name(path):
    path.with_name("spoe-guard-00000000-mine.pcapng").write_bytes(bytes(1 << 20))


@pytest.mark.parametrize("put", [sparse, of_somebody_else, with_another_name, lambda path: path.symlink_to("/dev/null")])
def test_files_of_others_neither_count_nor_are_removed(tmp_path, put):
    put(tmp_path / OLDEST)
    [other] = tmp_path.iterdir()
    kept = Kept(tmp_path, files=2, max_bytes=1 << 19).write(*takes(3))
    assert kept.counts() == (3, {})
    assert min(path.name for path in tmp_path.iterdir()) == other.name
    assert len(list(tmp_path.iterdir())) == 1 + 2


def test_a_capture_that_cannot_be_removed_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / OLDEST).write_text("x")
    unlink = Path.unlink

    def refuse(path, *, missing_ok=False):
        if path.name == OLDEST:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    assert Kept(tmp_path, files=2).write(*takes(2)).counts() == (2, {})  # the first of them made room
    assert len(list(tmp_path.iterdir())) == 2
    for path in tmp_path.iterdir():
        if path.name != OLDEST:
            unlink(path)
    assert Kept(tmp_path, files=1).write(*takes(1)).counts() == (0, {"disk": 1})  # one past the bound: no room can be made


def test_a_folder_that_knows_no_lock_is_written_to(tmp_path, monkeypatch):
    def flock(*_how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(store_module.fcntl, "flock", flock)
    assert Kept(tmp_path).write(*takes(1)).counts() == (1, {})


def test_the_newest_so_many_bytes_stay(tmp_path):
    first, *rest = takes(4)
    Kept(tmp_path).write(first)
    [file] = tmp_path.iterdir()
    size = file.stat().st_size
    Kept(tmp_path, max_bytes=3 * size).write(*rest[:2])
    assert len(list(tmp_path.iterdir())) == 3  # at the bound
    Kept(tmp_path, max_bytes=3 * size).write(rest[2])
    assert len(list(tmp_path.iterdir())) == 3
    assert not file.exists()


def test_what_is_not_a_capture_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    Kept(tmp_path, files=1).write(*takes(3))
    assert len(list(tmp_path.iterdir())) == 2
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_removed_folder_is_logged_once_counted_and_may_come_back(tmp_path):
    folder = tmp_path / "captures"
    folder.mkdir()
    one, two, three, four = takes(4)
    kept = Kept(folder)
    kept.store.submit(one)
    wait_for(lambda: kept.counts() == (1, {}))
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    for take in (two, three):
        kept.store.submit(take)
    wait_for(lambda: kept.counts() == (1, {"disk": 2}))
    folder.mkdir()
    kept.write(four)
    assert kept.counts() == (2, {"disk": 2})
    faults = [fields for _, event, fields in kept.sent if event == "capture_failed"]
    assert [fault["error"] for fault in faults] == [os.strerror(errno.ENOENT)]


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_full_disk_is_logged_once_counted_and_leaves_no_partial_file(tmp_path):
    need_root("mount a tmpfs")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(tmp_path)], check=True)
    try:
        (tmp_path / "filler").write_bytes(b"x" * 8192)
        kept = Kept(tmp_path).write(*takes(3))
        assert [path.name for path in tmp_path.iterdir()] == ["filler"]
        assert kept.counts() == (0, {"disk": 3})
        assert [(event, fields["error"]) for _, event, fields in kept.sent] == [("capture_failed", os.strerror(errno.ENOSPC))]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_bug_of_ours_costs_a_capture(tmp_path, monkeypatch):
    def broken(_):
        raise ZeroDivisionError

    monkeypatch.setattr(store_module, "packets", broken)
    kept = Kept(tmp_path).write(*takes(2))
    assert kept.counts() == (0, {"error": 2})
    assert list(tmp_path.iterdir()) == []
    assert [fields["error"] for _, _, fields in kept.sent] == ["ZeroDivisionError"]


def test_behind_a_hanging_disk_captures_wait_up_to_a_bound(tmp_path, monkeypatch):
    hangs, hung = threading.Event(), threading.Event()

    def write(self, take):
        hung.set()
        assert hangs.wait(DEADLINE_S)
        return Path("x"), 0

    monkeypatch.setattr(Store, "_write", write)
    first, *rest = takes(5)
    kept = Kept(tmp_path, waiting=3)
    assert kept.store.submit(first)
    assert hung.wait(DEADLINE_S)
    assert [kept.store.submit(take) for take in rest] == [True, True, True, False]
    began = time.monotonic()
    assert not kept.store.close(0.05)
    assert time.monotonic() - began < DEADLINE_S
    hangs.set()
    assert kept.store.close(DEADLINE_S)
