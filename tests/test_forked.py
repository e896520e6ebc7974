"""A program that is forked behaves as one that is started, and is a child of this process alone."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from spoe_guard.lab.frames import haproxy_hello
from tests import forked
from tests.running import RUN_S, environment, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they are started; run these on Linux")
GUARD = (sys.executable, "-m", "spoe_guard")
EACH = pytest.mark.parametrize("popen", [subprocess.Popen, forked.Popen])


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """What was asked of the process that forks."""
    asked = []
    fork = forked._Forker.fork
    monkeypatch.setattr(forked._Forker, "fork", lambda self, *request: asked.append(request[0]) or fork(self, *request))
    return asked


@EACH
def test_its_output_and_exit_code_are_those_of_a_started_one(popen, told, tmp_path):
    (tmp_path / "guard.yaml").write_text("listen: here\n")
    ends = []
    for arguments in (["version"], ["check", "--config", "guard.yaml"], ["nonsense"]):
        with popen(
            [*GUARD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment()
        ) as process:
            out, err = process.communicate(timeout=RUN_S)
        ends.append((process.returncode, out.partition(" ")[0], "unknown key" in err, err.startswith("spoe-guard: ")))
    assert ends == [(0, "spoe-guard", False, False), (2, "", True, True), (2, "", False, True)]
    assert len(told) == (3 if popen is forked.Popen else 0)


@EACH
def test_it_reads_standard_input_and_its_environment(popen, told):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with popen([*GUARD, "decode", "-"], env=environment(), **pipes) as process:
        out, err = process.communicate(haproxy_hello().hex().encode(), timeout=RUN_S)
    assert (process.returncode, b"HAPROXY-HELLO" in out, err) == (0, True, b"")
    with popen([*GUARD, "check"], env=environment({"SPOE_GUARD_LOG__LEVEL": "shout"}), **pipes) as process:
        out, err = process.communicate(timeout=RUN_S)
    assert (process.returncode, b"'shout'" in err) == (2, True)
    assert len(told) == (2 if popen is forked.Popen else 0)


def test_it_is_our_child_with_our_signals_and_files_of_its_own(told):
    opened = []
    command = [*GUARD, "run", "--listen", "127.0.0.1:0", "--agent", "127.0.0.1:9", "--admin", "127.0.0.1:0"]
    for popen in (subprocess.Popen, forked.Popen):
        with popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
            try:
                assert b"listening" in process.stdout.readline()
                assert _parent(process.pid) == os.getpid()
                opened.append(_files(process.pid))
                process.send_signal(signal.SIGTERM)
                assert process.wait(RUN_S) == 0
            finally:
                process.kill()
    assert opened[0] == opened[1]
    assert len(told) == 1


def _files(pid):
    """How many it has open of each kind."""
    kinds = Counter()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
            kinds[str(link.readlink()).partition(":")[0]] += 1
    return kinds


def test_one_that_a_signal_kills_says_so():
    with forked.Popen([*GUARD, "run", "--listen", "127.0.0.1:0", "--agent", "127.0.0.1:9"], env=environment()) as process:
        process.kill()
        assert process.wait(RUN_S) == -signal.SIGKILL


def test_orphans_of_others_do_not_become_our_children():
    forked.run([*GUARD, "version"], RUN_S, env=environment())
    with subprocess.Popen(["sh", "-c", "sleep 60 & echo $!"], stdout=subprocess.PIPE) as shell:
        orphan = int(shell.stdout.readline())
    until(lambda: _parent(orphan) != shell.pid)
    try:
        assert _parent(orphan) != os.getpid()
    finally:
        os.kill(orphan, signal.SIGKILL)


def _parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_many_at_once_each_get_their_own(told):
    ends = {}

    def ask(word):
        ends[word] = forked.run([*GUARD, word], RUN_S, env=environment()).stderr

    threads = [threading.Thread(target=ask, args=(f"word{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 8
    assert all(f"'{word}'" in text for word, text in ends.items())


@pytest.mark.parametrize(
    ("command", "how"),
    [
        ([sys.executable, "-c", "print('spoe-guard')"], {}),
        ([*GUARD, "version"], {"env": {**os.environ, "PYTHONDEVMODE": "1"}}),
        ([*GUARD, "version"], {"start_new_session": True}),
    ],
)
def test_what_a_fork_would_get_wrong_is_started(command, how, told):
    assert forked.run(command, RUN_S, **how).stdout.startswith("spoe-guard")
    assert told == []
