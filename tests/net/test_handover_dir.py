"""The directory of hand-overs: its owner's alone, and in it sockets of guards that are there."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from spoe_guard.net import handover_dir
from spoe_guard.net.handover_dir import connect, listen, names, opened, overflow_user, prepare, remove
from tests.peers import ROOT, need_root
from tests.running import RUN_S

STRANGER = 12345
WHY = "to be another user"


@pytest.fixture
def place(tmp_path):
    prepare(tmp_path / "place")
    return tmp_path / "place"


def packets() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def refused(path: Path) -> str:
    with pytest.raises(OSError) as error:
        prepare(path)
    return error.value.strerror


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_it_is_made_for_its_owner_alone_and_may_be_there_already(tmp_path, umask):
    before = os.umask(umask)
    try:
        prepare(tmp_path / "place")
        prepare(tmp_path / "place")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "place").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o770, 0o755, 0o1777])
def test_one_that_others_may_use_is_refused(place, mode):
    place.chmod(mode)
    assert refused(place) == f"others may use it: its mode is {mode:04o}, expected 0700"


def test_what_is_no_directory_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert refused(tmp_path / "file") == "Not a directory"
    assert refused(tmp_path / "none" / "place") == "No such file or directory"


def test_systemd_may_have_made_a_link_of_it(place, tmp_path):
    (tmp_path / "link").symlink_to(place)  # as with DynamicUser=
    prepare(tmp_path / "link")


def test_one_of_another_user_is_refused(place):
    need_root(WHY)
    os.chown(place, STRANGER, STRANGER)
    assert refused(place) == f"it belongs to user {STRANGER}, and the guard runs as user {os.geteuid()}"


def test_a_user_that_may_be_anyone_has_none(place, monkeypatch, tmp_path):
    for text in (str(os.geteuid()), f"{os.geteuid()}\n"):
        (tmp_path / "overflowuid").write_text(text)
        monkeypatch.setattr(handover_dir, "_OVERFLOW", tmp_path / "overflowuid")
        assert refused(place).startswith(f"the guard runs as user {os.geteuid()}, which in a user namespace ")


@pytest.mark.parametrize("text", [None, "", "nobody"])
def test_where_the_kernel_does_not_say_who_that_is_it_is_65534(monkeypatch, tmp_path, text):
    if text is not None:
        (tmp_path / "overflowuid").write_text(text)
    monkeypatch.setattr(handover_dir, "_OVERFLOW", tmp_path / "overflowuid")
    assert overflow_user() == 65534


def as_user(user: int, code: str, *arguments: object) -> str:
    """Run ``code`` as that user; return what it printed."""
    need_root(WHY)
    head = f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); from spoe_guard.net import handover_dir as place; "
    switch = f"import socket, pathlib; os.setgroups([]); os.setgid({user}); os.setuid({user})\n"
    command = [sys.executable, "-c", head + switch + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=RUN_S, check=True).stdout


TRY = """
try:
    %s
except OSError as error:
    print(error.strerror)
else:
    print("done")
"""


def test_nobody_as_the_kernel_has_it_gets_none():
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o777)
        said = as_user(overflow_user(), TRY % "place.prepare(pathlib.Path(sys.argv[1]))", folder / "place")
    finally:
        for made in (*folder.iterdir(), folder):
            made.rmdir()
    assert said.startswith("the guard runs as user 65534")


def test_a_stranger_neither_sees_who_listens_nor_connects():
    folder = Path(tempfile.mkdtemp())
    try:
        with packets() as sock:
            listen(folder, "a.1", sock, 1)
            assert as_user(STRANGER, TRY % "os.listdir(sys.argv[1])", folder) == "Permission denied\n"
            dial = TRY % "socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).connect(sys.argv[1] + '/a.1')"
            assert as_user(STRANGER, dial, folder) == "Permission denied\n"
            with packets() as ours:
                connect(folder, "a.1", ours)
        remove(folder, "a.1")
    finally:
        folder.rmdir()


def test_those_with_a_prefix_are_listed_and_only_those_that_listen(place):
    with packets() as one, packets() as other, packets() as unfinished:
        listen(place, "a.2", one, 1)
        listen(place, "b.1", other, 1)
        with opened(place) as directory:
            unfinished.bind(f"/proc/self/fd/{directory}/a.1.new")
        assert names(place, "a.") == ["a.2"]
        remove(place, "a.2")
        remove(place, "a.2")
        assert names(place, "a.") == []


def test_a_socket_whose_guard_is_gone_is_removed_by_who_finds_it(place):
    with packets() as sock:
        listen(place, "a.1", sock, 1)
    with packets() as ours, pytest.raises(ConnectionRefusedError):
        connect(place, "a.1", ours)
    assert list(place.iterdir()) == []


def test_one_that_is_busy_is_left(place):
    with packets() as sock, packets() as first, packets() as second:
        listen(place, "a.1", sock, 0)
        for ours in (first, second):
            ours.setblocking(False)
        connect(place, "a.1", first)
        with pytest.raises(BlockingIOError):
            connect(place, "a.1", second)
        assert names(place, "a.") == ["a.1"]


def test_a_long_path_is_no_obstacle(tmp_path):
    deep = tmp_path
    for _ in range(3):
        deep /= "x" * 60
    deep.mkdir(parents=True)
    prepare(deep / "place")
    with packets() as sock, packets() as ours:
        listen(deep / "place", "a" * 53, sock, 1)
        connect(deep / "place", "a" * 53, ours)
