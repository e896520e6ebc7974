"""Builds the container image on a Debian base of our own, and runs it as a container runtime would."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests import debian
from tests.peers import CACHE, ROOT

SUITE = "bookworm"
HOME = CACHE / "image"
STORAGE = ("--storage-driver", "vfs", "--root", str(HOME / "storage"), "--runroot", str(HOME / "run"))
BASE = f"localhost/spoe-guard-base:{SUITE}"
REVISION = "0123456789abcdef0123456789abcdef01234567"

# What a runtime does with --read-only and --network=none: own namespaces, a read-only root, then the image's user and command.
# $1 root, $2 user, the rest is run in there; the shell becomes it, so that it is PID 1.
CONTAINER = """
set -e
root=$1 user=$2; shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
# ip link set lo up, where there is no ip
"$PYTHON" -c 'import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 1))'
exec chroot --userspec="$user" "$root" env -i "$@"
"""


def buildah(*args: str) -> str:
    done = subprocess.run(["buildah", *STORAGE, *args], check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"buildah {' '.join(args)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()


def make_base() -> None:
    """Keep a bare Debian as an image; done once, it lives in the cache."""
    if buildah("images", "--quiet", "--filter", f"reference={BASE}"):
        return
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, str(debian.archive(SUITE)), "/")
    buildah("commit", "--quiet", "--rm", container, BASE)


def git_tree(into: Path) -> None:
    """Copy what git knows of this tree, as it is on disk now: a file nobody added must not make the image work."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, into / name)


def pip_of_this_machine(into: Path) -> list[str]:
    """Volumes that give pip inside the build the configuration it has outside; the Dockerfile knows nothing of it."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True).stdout
    options = {}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        options[name.rpartition(".")[2]] = value.strip("'")
    volumes = []
    if authorities := options.get("cert") or os.environ.get("SSL_CERT_FILE"):
        options["cert"] = "/run/pip/ca.pem"
        volumes.append(f"--volume={authorities}:/run/pip/ca.pem:ro")
    if (wheels := options.get("find-links", "")).startswith("/") and Path(wheels).is_dir():
        volumes.append(f"--volume={wheels}:{wheels}:ro")
    (into / "pip.conf").write_text("\n".join(["[global]", *(f"{name} = {value}" for name, value in options.items()), ""]))
    return [*volumes, f"--volume={into / 'pip.conf'}:/etc/pip.conf:ro"]


@dataclass
class Image:
    """A built image: its name, where its root file system is mounted, and what it says about itself."""

    tag: str
    root: Path
    config: Mapping[str, object]

    @contextlib.contextmanager
    def run(self, *args: str) -> Iterator["Container"]:
        """Run the image's entrypoint with ``args`` as PID 1 of namespaces of its own, on a read-only root, as its user."""
        namespaces = ["unshare", "--fork", "--pid", "--mount", "--net", "--ipc", "--uts", "--kill-child"]
        inside = [str(self.root), self.config["User"], *self.config["Env"], *self.config["Entrypoint"], *args]
        shell = [*namespaces, "sh", "-c", CONTAINER, "sh", *inside]
        env = {**os.environ, "PYTHON": sys.executable}
        with subprocess.Popen(shell, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as process:
            container = Container(self, process)
            try:
                yield container
            finally:
                if process.poll() is None:  # --kill-child is undone by the change of user, so PID 1 is ended by its id
                    os.kill(container.first_process(), signal.SIGKILL)
                process.kill()


@dataclass
class Container:
    """A running image."""

    image: Image
    process: "subprocess.Popen[str]"

    def first_process(self) -> int:
        """The process id, as seen from outside, of PID 1 inside."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        deadline = time.monotonic() + 5
        while not (found := children.read_text().split()):
            assert self.process.poll() is None, self.process.stdout.read()
            assert time.monotonic() < deadline, "unshare did not fork"
            time.sleep(0.01)
        return int(found[0])

    def enter(self, *command: str, user: str = "0:0") -> "subprocess.CompletedProcess[str]":
        """Run ``command`` beside PID 1, on its root, as `docker exec` does."""
        uid, _, gid = user.partition(":")
        places = ["--mount", "--net", "--pid", "--root", "--wd", f"--setuid={uid}", f"--setgid={gid}"]
        inside = ["nsenter", "--target", str(self.first_process()), *places, "env", "-i", *self.image.config["Env"], *command]
        return subprocess.run(inside, capture_output=True, text=True, timeout=10, check=False)

    def run_as_user(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return self.enter(*command, user=self.image.config["User"] or "0:0")

    def healthcheck(self) -> "subprocess.CompletedProcess[str]":
        """Run the image's HEALTHCHECK as a runtime would."""
        kind, *command = self.image.config["Healthcheck"]["Test"]
        assert kind == "CMD", "in exec form: there need not be a shell"
        return self.run_as_user(*command)

    def wait_for(self, check: "Callable[[], subprocess.CompletedProcess[str]]", within_s: float = 15) -> None:
        """Repeat ``check`` until it succeeds; fail when the image ends or the time is up."""
        deadline = time.monotonic() + within_s
        while (done := check()).returncode != 0:
            assert self.process.poll() is None, self.process.stdout.read()
            assert time.monotonic() < deadline, done.stderr
            time.sleep(0.1)

    def stop(self, within_s: float) -> int:
        """Send SIGTERM to PID 1 and return its exit code."""
        os.kill(self.first_process(), signal.SIGTERM)
        return self.process.wait(within_s)


@contextlib.contextmanager
def built_image(scratch: Path) -> Iterator[Image]:
    """Build the Dockerfile from the git tree and mount the result; nothing but the base stays in the cache."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:  # another run may be at it
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_base()
    (scratch / "tree").mkdir()
    git_tree(scratch / "tree")
    tag = f"localhost/spoe-guard-test:{os.getpid()}"
    options = ["--isolation", "chroot", "--format", "docker", "--tag", tag]
    options += ["--build-arg", f"BASE={BASE}", "--build-arg", f"REVISION={REVISION}"]
    buildah("bud", *options, *pip_of_this_machine(scratch), str(scratch / "tree"))
    container = buildah("from", tag)
    try:
        config = json.loads(buildah("inspect", "--type", "image", tag))["Docker"]["config"]
        yield Image(tag, Path(buildah("mount", container)), config)
    finally:
        buildah("rm", container)
        buildah("rmi", tag)
