"""What `init --write` writes: all of it or nothing, with a copy of each file that changes, and over no file that nobody named."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from spoe_guard.haproxy_config.source import Source, Sources
from spoe_guard.placement import write as module
from spoe_guard.placement.findings import PlacementError
from spoe_guard.placement.write import MOST_BACKUPS, CannotWriteError, write

GUARD = "routes:\n"


@pytest.fixture
def before(tmp_path) -> Sources:
    """Two files that were read, one of them with a byte that is no UTF-8."""
    (tmp_path / "a.cfg").write_bytes(b"one\n\xff\n")
    (tmp_path / "b.conf").write_bytes(b"two\n")
    sources = Sources()
    for name in ("a.cfg", "b.conf"):
        sources.get(tmp_path / name)
    return sources


@pytest.fixture
def do(tmp_path, before) -> Callable[[], dict[Path, Path]]:
    """Write both files with other content, and the guard's."""

    def go() -> dict[Path, Path]:
        texts = {tmp_path / "a.cfg": ("ONE\n", "\udcff\n"), tmp_path / "b.conf": ("TWO\n",)}
        return write(tmp_path / "guard.yaml", GUARD, {path: Source(path, lines) for path, lines in texts.items()}, before)

    return go


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


UNCHANGED = {"a.cfg": b"one\n\xff\n", "b.conf": b"two\n"}


def test_files_are_replaced_and_kept_beside(tmp_path, do):
    assert do() == {tmp_path / "a.cfg": tmp_path / "a.cfg.bak", tmp_path / "b.conf": tmp_path / "b.conf.bak"}
    assert content(tmp_path) == {
        "a.cfg": b"ONE\n\xff\n",
        "a.cfg.bak": b"one\n\xff\n",
        "b.conf": b"TWO\n",
        "b.conf.bak": b"two\n",
        "guard.yaml": GUARD.encode(),
    }


def test_mode_and_owner_stay_what_they_were(tmp_path, do):
    (tmp_path / "a.cfg").chmod(0o640)
    if os.geteuid() == 0:
        os.chown(tmp_path / "a.cfg", 1, 2)
    owner = (tmp_path / "a.cfg").stat()
    do()
    for name in ("a.cfg", "a.cfg.bak"):
        found = (tmp_path / name).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o640, owner.st_uid, owner.st_gid)


def test_a_link_stays_a_link_and_what_it_leads_to_changes(tmp_path, before):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.cfg").write_bytes(b"one\n\xff\n")
    (tmp_path / "a.cfg").unlink()
    (tmp_path / "a.cfg").symlink_to("real/a.cfg")
    path = tmp_path / "a.cfg"
    assert write(tmp_path / "guard.yaml", GUARD, {path: Source(path, ("ONE\n",))}, before) == {path: tmp_path / "real/a.cfg.bak"}
    assert path.is_symlink()
    assert content(tmp_path / "real") == {"a.cfg": b"ONE\n", "a.cfg.bak": b"one\n\xff\n"}


@pytest.mark.parametrize("kind", ["file", "link that leads nowhere"])
def test_a_guards_file_that_is_there_is_not_written_over(tmp_path, do, kind):
    if kind == "file":
        (tmp_path / "guard.yaml").write_text("mine")
    else:
        (tmp_path / "guard.yaml").symlink_to("nowhere")
    with pytest.raises(PlacementError) as error:
        do()
    assert str(error.value) == f"--output: '{tmp_path}/guard.yaml': it is there already; move it away, or name another file"
    assert {name: data for name, data in content_of_files(tmp_path).items() if name != "guard.yaml"} == UNCHANGED


def content_of_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.exists()}


def test_a_copy_from_before_is_kept_and_the_next_has_a_number(tmp_path, do):
    (tmp_path / "a.cfg.bak").write_text("older")
    assert do()[tmp_path / "a.cfg"] == tmp_path / "a.cfg.bak.2"
    assert (tmp_path / "a.cfg.bak").read_text() == "older"


@pytest.mark.parametrize("there", [MOST_BACKUPS - 1, MOST_BACKUPS])
def test_so_many_copies_are_kept_and_not_one_more(tmp_path, do, there):
    for number in range(1, there + 1):
        (tmp_path / ("a.cfg.bak" if number == 1 else f"a.cfg.bak.{number}")).write_text("older")
    if there < MOST_BACKUPS:
        assert do()[tmp_path / "a.cfg"] == tmp_path / f"a.cfg.bak.{MOST_BACKUPS}"
        return
    with pytest.raises(CannotWriteError, match="there are 100 backups beside it already; remove some, nothing was changed"):
        do()
    assert not (tmp_path / "guard.yaml").exists()


def test_a_file_that_was_changed_meanwhile_is_left_alone(tmp_path, do):
    (tmp_path / "b.conf").write_text("somebody's\n")
    with pytest.raises(CannotWriteError) as error:
        do()
    assert str(error.value) == f"{tmp_path}/b.conf: it was changed meanwhile; nothing was written, start again"
    assert content(tmp_path) == UNCHANGED | {"b.conf": b"somebody's\n"}


def test_a_file_that_is_gone_meanwhile_is_said(tmp_path, do):
    (tmp_path / "b.conf").unlink()
    with pytest.raises(CannotWriteError, match=r"b\.conf: cannot be read: No such file or directory; nothing was changed"):
        do()
    assert content(tmp_path) == {"a.cfg": UNCHANGED["a.cfg"]}


def failing(real: Callable[..., object], at: int) -> Callable[..., object]:
    """Return ``real``, which fails when it is called for that time, counted from 1."""
    calls = 0

    def call(*args: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        if calls == at:
            raise OSError(28, "No space left on device", "some/file")
        return real(*args, **more)

    return call


# Every call by which the disk is changed, each time it comes: three files are created, and of two files copies made and replaced.
STEPS = [("fsync", 1), ("fsync", 2), ("fsync", 3), ("fsync", 5), ("replace", 1), ("replace", 2)]


@pytest.mark.parametrize(("call", "at"), STEPS, ids=str)
def test_whatever_fails_nothing_is_changed(tmp_path, do, monkeypatch, call, at):
    monkeypatch.setattr(module.os, call, failing(getattr(os, call), at))
    with pytest.raises(CannotWriteError) as error:
        do()
    assert str(error.value) == "some/file: cannot be written: No space left on device; nothing was changed"
    assert content(tmp_path) == UNCHANGED


def test_a_folder_that_is_not_there_is_said(tmp_path, before):
    with pytest.raises(CannotWriteError) as error:
        write(tmp_path / "none/guard.yaml", GUARD, {}, before)
    assert str(error.value) == f"{tmp_path}/none/guard.yaml: cannot be written: No such file or directory; nothing was changed"


def test_an_interrupt_leaves_nothing_behind(tmp_path, do, monkeypatch):
    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copymode", interrupt)
    with pytest.raises(KeyboardInterrupt):
        do()
    assert content(tmp_path) == UNCHANGED
