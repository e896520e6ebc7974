"""Roots of Debian releases: bare ones to install something into, as folders and as machines that systemd boots."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.peers import ROOT, missing, need, need_root

# What a package's scripts may ask for. Apt asks nothing back and takes no more than is needed.
ENVIRONMENT = {"HOME": "/root", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
APT = 'APT::Get::Assume-Yes "true";\nAPT::Install-Recommends "false";\nDpkg::Use-Pty "false";\nAcquire::Languages "none";\n'
ENTER = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
RUN_S = 600.0  # what is asked for over a network takes as long as that does
BOOT_S = 180.0  # on a machine that does other things, too
BOOTED = ("running", "degraded")
# As systemd has it today, whatever this machine mounts.
NSPAWN_ENVIRONMENT = {"UNIFIED_CGROUP_HIERARCHY": "1"}
HARMLESS = "Attempted to remove disk file system"  # it says so of a folder of its own, and of one that works, too


def archive(release: str) -> Path:
    """Return the archive of a bare root, which ``.ci/root`` makes once."""
    need_root("bootstrap a Debian release")
    need("debootstrap")
    made = subprocess.run([ROOT / ".ci/root", release], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return Path(made.stdout.strip())


@contextlib.contextmanager
def removed(path: Path) -> Iterator[None]:
    """Remove the root at ``path`` in the end: each has some hundred megabytes, and pytest would keep all of three runs."""
    try:
        yield
    finally:
        subprocess.run(["rm", "--recursive", "--force", "--one-file-system", path], check=True)


def nspawn(root: Path, *what: str) -> list[str]:
    """Return the command that runs ``what`` in ``root`` as in a machine, whose network has the loopback alone."""
    options = ["--quiet", "--register=no", "--keep-unit", "--private-network", "--console=pipe"]
    name = f"--machine=spoe-guard-{os.getpid()}"
    return [need("systemd-nspawn", "systemd-container"), *options, name, f"--directory={root}", *what]


def why_no_boot(root: Path) -> str:
    """Return why systemd-nspawn starts nothing in ``root``, in its own words; empty where it does."""
    env = os.environ | NSPAWN_ENVIRONMENT
    done = subprocess.run(nspawn(root, "true"), env=env, capture_output=True, text=True, timeout=BOOT_S, check=False)
    said = [line for line in done.stderr.splitlines() if not line.startswith(HARMLESS)]
    return "" if done.returncode == 0 else "; ".join(said) or f"it ended with {done.returncode}"


@dataclass
class Root:
    """A root of a Debian release, without systemd running in it."""

    path: Path

    @classmethod
    @contextlib.contextmanager
    def bare(cls, release: str, path: Path) -> "Iterator[Root]":
        """Unpack one at ``path``. Its apt knows what there is, and it resolves names as this machine does."""
        unpacked = archive(release)
        with removed(path):
            path.mkdir()
            subprocess.run(["tar", "--extract", "--numeric-owner", "--file", unpacked, "--directory", path], check=True)
            root = cls(path)
            shutil.copy("/etc/resolv.conf", path / "etc/resolv.conf")
            (path / "etc/apt/apt.conf.d/quiet").write_text(APT)
            root.run("apt-get", "-qq", "update")
            yield root

    @contextlib.contextmanager
    def copy(self, path: Path) -> "Iterator[Root]":
        """Have a root like this one at ``path``."""
        with removed(path):
            subprocess.run(["cp", "--archive", "--reflink=auto", self.path, path], check=True)
            yield Root(path)

    def put(self, file: Path, folder: str = "tmp") -> str:
        """Copy ``file`` into ``folder`` of the root; return its path in there."""
        return "/" + str(Path(shutil.copy(file, self.path / folder)).relative_to(self.path))

    def run(self, *command: str, succeeds: bool = True, within_s: float = RUN_S) -> "subprocess.CompletedProcess[str]":
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
        if why := why_no_boot(self.path):
            missing(f"systemd-nspawn starts nothing here: {why}", "a machine, or a privileged container, with cgroups of its own")
        command, env = nspawn(self.path, "--boot"), os.environ | NSPAWN_ENVIRONMENT
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

    def run(self, *command: str, succeeds: bool = True, within_s: float = RUN_S) -> "subprocess.CompletedProcess[str]":
        """Run ``command`` beside systemd."""
        assigned = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        inside = ["nsenter", "--target", str(self.first_process()), "--all", "--root", "--wd", "env", "-i", *assigned, *command]
        done = subprocess.run(inside, capture_output=True, text=True, timeout=within_s, check=False)
        assert not succeeds or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def said(self, *command: str) -> str:
        """Return what a command prints."""
        return self.run(*command).stdout.strip()
