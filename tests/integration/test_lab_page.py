"""Each command of docs/lab.md does what the page says: with the guard and a real HAProxy, at the addresses that it names."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

from tests.integration import generations
from tests.peers import ROOT, missing, need
from tests.running import RUN_S, as_command, until

PAGE = (ROOT / "docs/lab.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [text.strip() for language, text in BLOCKS if language == "sh"]
SHOWN = [text.strip() for language, text in BLOCKS if not language]
# Brings the loopback interface up (SIOCSIFFLAGS), says so, and stays until its standard input ends.
HOLD = """\
import fcntl, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 1))
print("up", flush=True)
sys.stdin.read()
"""


class Machine:
    """A network of its own, in which every port is free. ``folder`` keeps what the programs print."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._environment = as_command(folder)
        command = [need("unshare", "util-linux"), "--map-root-user", "--net", sys.executable, "-c", HOLD]
        self._holder = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        stack.callback(self._holder.kill)
        if self._holder.stdout.readline() != "up\n":
            missing("no network namespaces here", "run as root, or allow user namespaces")

    def _inside(self, command: str) -> list[str]:
        enter = ["nsenter", "--target", str(self._holder.pid), "--user", "--net", "--preserve-credentials"]
        return [*enter, "sh", "-c", command]

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self._inside(command), capture_output=True, text=True, timeout=RUN_S, env=self._environment, cwd=ROOT, check=False
        )
        assert done.stderr == ""
        return done

    def start(self, command: str, ready: str = "listening") -> "Program":
        """Start what goes on; return it once its output has ``ready``."""
        return self._stack.enter_context(Program(self._inside(f"exec {command}"), self._environment, self._folder, ready))


class Program:
    """A program that goes on until the end of the test, or until it is stopped."""

    def __init__(self, command, environment, folder, ready):
        self._path = folder / f"{len(list(folder.iterdir()))}.log"
        self._ready = ready
        with self._path.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=ROOT)

    def __enter__(self):
        try:
            until(lambda: self._ready in self.log() or self._process.poll() is not None)
            assert self._process.poll() is None, self.log()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def log(self):
        return self._path.read_text()

    def stop(self):
        self._process.kill()
        self._process.wait()


def test_the_commands_of_the_page_do_what_it_says(tmp_path):
    haproxy = generations.find("3.2").program
    need("curl")
    faulty, guard, ask, metrics, alone, choosing, check, on_and_on = COMMANDS
    with contextlib.ExitStack() as stack:
        machine = Machine(tmp_path, stack)
        agent = machine.start(faulty)
        machine.start(guard)
        asked = machine.run(ask)
        assert asked.returncode == 0
        assert asked.stdout.splitlines()[0].partition(", after")[0] == SHOWN[0].splitlines()[0].partition(", after")[0]
        assert asked.stdout.splitlines()[-1].partition(";")[0] == SHOWN[0].splitlines()[-1].partition(";")[0]
        assert machine.run(metrics).stdout.splitlines()[-1] == SHOWN[1]
        without = machine.run(alone)
        assert "10 NOTIFYs, 8 ACKs, 2 without; " in without.stdout
        assert without.stdout.endswith("answers are missing\n")

        machine.start(f"{sys.executable} -u -m http.server --bind 127.0.0.1 8000", "Serving")
        machine.start(f"{haproxy} -db -f config/haproxy/from-3.1/haproxy.cfg", "")
        request = (
            "curl --silent --retry 9 --retry-connrefused --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8080/"
        )
        assert machine.run(request).stdout == "403"  # the variable that the rule looks at is not set
        agent.stop()
        chosen = machine.start(choosing)
        until(lambda: machine.run(request).stdout == "200")
        checked = machine.run(check)
        assert (checked.returncode, checked.stdout.partition(":")[0]) == (0, "AGENT-HELLO")
        before = notifies(chosen)
        machine.start(on_and_on, "")
        until(lambda: notifies(chosen) >= before + 10)


def notifies(agent):
    """Return how many NOTIFYs the agent says it has had."""
    found = re.findall(r"(\d+) NOTIFYs?, ", agent.log())
    return int(found[-1]) if found else 0
