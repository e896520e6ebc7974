"""HAProxy's files as they are read: to the last byte, and within bounds."""

import os
from pathlib import Path

import pytest

from spoe_guard.haproxy_config import source
from spoe_guard.haproxy_config.source import MAX_FILE_BYTES, MAX_FILES, MAX_LINES, Source, SourceError, Sources, files_of


def refused(path: Path) -> str:
    with pytest.raises(SourceError) as error:
        Sources().get(path)
    assert error.value.path == path
    return error.value.why


@pytest.mark.parametrize("data", [b"", b"a\n", b"a", b"a\r\nb\r\n", b"a\rb\n\n", b"\xff\xfe\n\x80", "é\n\x85\u2028".encode()])
def test_a_file_is_kept_to_the_last_byte(tmp_path, data):
    (tmp_path / "f").write_bytes(data)
    read = Sources().get(tmp_path / "f")
    assert read.data == data
    assert len(read.lines) == len(data.splitlines(keepends=True)) - data.count(b"\r") + data.count(b"\r\n")


def test_a_file_is_read_once_and_its_substitute_never(tmp_path):
    file = tmp_path / "f"
    file.write_text("first\n")
    sources = Sources()
    sources.get(file)
    file.write_text("second\n")
    assert sources.get(file).lines == ("first\n",)
    assert Sources({file: Source(file, ("changed\n",))}).get(file).lines == ("changed\n",)


def test_what_cannot_be_read_is_said(tmp_path):
    assert refused(tmp_path / "none") == "cannot be read: No such file or directory"
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file/below") == "cannot be read: Not a directory"
    assert refused(tmp_path) == "cannot be read: Is a directory"


def test_a_file_that_may_not_be_read_is_said(tmp_path, monkeypatch):
    def forbidden(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)  # root may read all files
    assert refused(tmp_path / "f") == "cannot be read: Permission denied"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe") == "cannot be read: it is not a regular file"


def test_a_file_of_the_most_bytes_is_read_and_none_longer(tmp_path):
    (tmp_path / "f").write_bytes(b"#" * MAX_FILE_BYTES)
    assert len(Sources().get(tmp_path / "f").lines[0]) == MAX_FILE_BYTES
    (tmp_path / "f").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    assert refused(tmp_path / "f") == f"cannot be read: it is larger than {MAX_FILE_BYTES} bytes"


@pytest.mark.parametrize("end", [b"", b"#"], ids=["with a last line feed", "without"])
def test_a_file_of_the_most_lines_is_read_and_none_longer(tmp_path, end):
    (tmp_path / "f").write_bytes(b"\n" * (MAX_LINES - len(end)) + end)
    assert len(Sources().get(tmp_path / "f").lines) == MAX_LINES
    (tmp_path / "f").write_bytes(b"\n" * (MAX_LINES - len(end) + 1) + end)
    assert refused(tmp_path / "f") == f"cannot be read: it has more than {MAX_LINES} lines"


def test_a_nul_byte_is_refused_with_its_line(tmp_path):
    (tmp_path / "f").write_bytes(b"a\nb\0\n")
    assert refused(tmp_path / "f") == "cannot be read: line 2 has a NUL byte, HAProxy takes none"


def test_so_many_files_are_read_and_one_more_is_not(tmp_path, monkeypatch):
    assert MAX_FILES == 64
    monkeypatch.setattr(source, "MAX_FILES", 2)
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text("")
    sources = Sources()
    sources.get(tmp_path / "a")
    sources.get(tmp_path / "b")
    sources.get(tmp_path / "a")
    with pytest.raises(SourceError, match="more than 2 files"):
        sources.get(tmp_path / "c")


def test_a_folder_is_the_files_that_haproxy_loads_from_it(tmp_path):
    for name in ("b.cfg", "a.cfg", ".hidden.cfg", "a.cfg.bak", "README"):
        (tmp_path / name).write_text("")
    assert files_of(tmp_path) == [tmp_path / "a.cfg", tmp_path / "b.cfg"]
    assert files_of(tmp_path / "b.cfg") == [tmp_path / "b.cfg"]
    assert files_of(tmp_path / "none") == [tmp_path / "none"]  # to be read, it is said that it is not there


def test_a_folder_without_such_files_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"no file in it ends with \.cfg"):
        files_of(tmp_path)
