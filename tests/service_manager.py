"""A test in place of systemd: receives a service's notifications, and starts one with sockets that listen already."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.running import START_S, environment

WATCHDOG_S = 0.4
# What systemd does between fork and exec: sockets become 3, 4, ..., and the process is named.
GIVE = """
import fcntl, os, sys
count = int(os.environ["LISTEN_FDS"])
kept = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 100) for each in sys.argv[1 : 1 + count]]
for at, each in enumerate(kept):
    os.dup2(each, 3 + at)
    os.close(each)
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(sys.argv[1 + count], sys.argv[1 + count :])
"""
COMMAND = (sys.executable, "-m", "spoe_guard", "run")


class Manager:
    """Hears what a service says; ``start`` runs one with sockets, as systemd would."""

    def __init__(self, folder: Path, *, abstract: bool = False) -> None:
        self._folder = folder
        self.address = f"@{folder}/notify" if abstract else f"{folder}/notify"
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(self.address.replace("@", "\0"))
        self._sock.settimeout(START_S)
        self.process: Any = None

    def hear(self) -> list[str]:
        """Wait for one message, and return its lines."""
        return self._sock.recv(65536).decode().splitlines()

    def hear_of(self, word: str) -> list[str]:
        """Wait for the message that has this line, whatever comes before."""
        deadline = time.monotonic() + START_S
        while word not in (lines := self.hear()):
            assert time.monotonic() < deadline, f"nothing of {word}"
        return lines

    def quiet_for(self, seconds: float) -> bool:
        """Return whether nothing is said for so long; what was said until now is forgotten."""
        self._sock.setblocking(False)
        try:
            while self.hear():
                pass
        except BlockingIOError:
            pass
        self._sock.settimeout(seconds)
        try:
            self.hear()
        except TimeoutError:
            return True
        finally:
            self._sock.settimeout(START_S)
        return False

    def close(self) -> None:
        self._sock.close()
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def start(self, *sockets: tuple[str, socket.socket], command: tuple[str, ...] = COMMAND, **settings: str) -> None:
        descriptors = [sock.fileno() for _, sock in sockets]
        told = {
            "NOTIFY_SOCKET": self.address,
            "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
            "LISTEN_FDS": str(len(sockets)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in sockets),
        }
        environ = environment({f"SPOE_GUARD_{name}": value for name, value in settings.items()}) | told
        give = (sys.executable, "-S", "-c", GIVE, *map(str, descriptors))
        with (self._folder / "out").open("wb") as out, (self._folder / "err").open("wb") as err:
            self.process = subprocess.Popen([*give, *command], stdout=out, stderr=err, env=environ, pass_fds=descriptors)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def log(self) -> str:
        return (self._folder / "out").read_text()

    def errors(self) -> str:
        return (self._folder / "err").read_text()


def listening(family: socket.AddressFamily = socket.AF_INET, where: Any = ("127.0.0.1", 0)) -> socket.socket:
    sock = socket.socket(family)
    sock.bind(where)
    sock.listen()
    return sock


def settings(**more: str) -> dict[str, str]:
    return {"ROUTES__0__AGENT": "127.0.0.1:9", "ROUTES__0__LISTEN": "127.0.0.1:0", "ADMIN__LISTEN": "null"} | more
