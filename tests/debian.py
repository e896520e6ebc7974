"""Roots of Debian releases: bare ones to install something into, as folders and as machines that systemd boots."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.peers import ROOT, need, need_root

# What a package's scripts may ask for. Apt asks nothing back and takes no more than is needed.
ENVIRONMENT = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
APT = 'APT::Get::Assume-Yes "true";\nAPT::Install-Recommends "false";\nDpkg::Use-Pty "false";\nAcquire::Languages "none";\n'
ENTER = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
BOOT_S = 60.0
BOOTED = ("running", "degraded")


def archive(release: str) -> Path:
    """Return the archive of a bare root, which ``.ci/root`` makes once."""
    need_root("bootstrap a Debian release")
    need("debootstrap")
    made = subprocess.run([ROOT / ".ci/root", release], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip())


@dataclass
class Root:
    """A root of a Debian release, without systemd running in it."""

    path: Path

    @classmethod
    def bare(cls, release: str, path: Path) -> "Root":
        """Unpack one at ``path``. Its apt knows what there is, and it resolves names as this machine does."""
        path.mkdir()
        subprocess.run(["tar", "--extract", "--numeric-owner", "--file", archive(release), "--directory", path], check=True)
        root = cls(path)
        shutil.copy("/etc/resolv.conf", path / "etc/resolv.conf")
        (path / "etc/apt/apt.conf.d/quiet").write_text(APT)
        root.run("apt-get", "-qq", "update")
        return root

    def copy(self, path: Path) -> "Root":
        """Return a root like this one at ``path``."""
        subprocess.run(["cp", "--archive", "--reflink=auto", self.path, path], check=True)
        return Root(path)

    def put(self, file: Path, folder: str = "tmp") -> str:
        """Copy ``file`` into ``folder`` of the root; return its path in there."""
        return "/" + str(Path(shutil.copy(file, self.path / folder)).relative_to(self.path))

    def run(self, *command: str, succeeds: bool = True, within_s: float = 180) -> "subprocess.CompletedProcess[str]":
        """Run ``command`` in it, as root and with the network of this machine; what it starts ends with it."""
        assigned = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, str(self.path)]
        done = subprocess.run(
            [*apart, "env", "-i", *assigned, *command], capture_output=True, text=True, timeout=within_s, check=False
        )
        assert not succeeds or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def said(self, *command: str) -> str:
        """Return what a command prints."""
        return self.run(*command).stdout.strip()

    @contextlib.contextmanager
    def booted(self) -> "Iterator[Machine]":
        """Boot it: systemd is PID 1, with a network of its own in which there is the loopback alone."""
        name = f"spoe-guard-{os.getpid()}"
        options = [
            "--boot",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--private-network",
            f"--machine={name}",
            "--console=pipe",
        ]
        command = [need("systemd-nspawn", "systemd-container"), f"--directory={self.path}", *options]
        env = {**os.environ, "UNIFIED_CGROUP_HIERARCHY": "1"}  # as systemd has it today, whatever this machine mounts
        with (
            (self.path.parent / f"{self.path.name}.console").open("w+") as console,
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT, env=env) as process,
        ):
            machine = Machine(process, Path(console.name))
            try:
                machine.wait_until_booted()
                yield machine
            finally:
                process.terminate()  # nspawn passes it on: systemd stops what runs
                try:
                    process.wait(BOOT_S)
                except subprocess.TimeoutExpired:
                    process.kill()


@dataclass
class Machine:
    """A root in which systemd runs."""

    process: "subprocess.Popen[bytes]"
    console: Path

    def first_process(self) -> int:
        """Return the process id of its PID 1, as seen from outside."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(found[0]) if found else 0

    def wait_until_booted(self) -> None:
        """Wait until systemd has started all that it starts; fail with what it wrote."""
        deadline = time.monotonic() + BOOT_S
        while True:
            told = self.console.read_text(errors="replace")[-4000:]
            assert self.process.poll() is None, told
            assert time.monotonic() < deadline, told
            # Degraded: something of Debian's does not start in a container, which is none of the guard's business.
            if self.first_process() and self.run("systemctl", "is-system-running", succeeds=False).stdout.strip() in BOOTED:
                return
            time.sleep(0.1)

    def run(self, *command: str, succeeds: bool = True, within_s: float = 60) -> "subprocess.CompletedProcess[str]":
        """Run ``command`` beside systemd."""
        assigned = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        inside = ["nsenter", "--target", str(self.first_process()), "--all", "--root", "--wd", "env", "-i", *assigned, *command]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=within_s, check=False)
        assert not succeeds or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def said(self, *command: str) -> str:
        """Return what a command prints."""
        return self.run(*command).stdout.strip()
