"""A stranger's path: a page's commands as they stand there, on a bare Debian where Coraza or CrowdSec is behind HAProxy."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from tests.agents.catalogue import CROWDSEC, WAF, RealAgent
from tests.debian import Machine, Root
from tests.integration import generations
from tests.integration.haproxy import wait_until
from tests.packages.conftest import BUILT_WITHIN_S, debs, wheel, wheels_release
from tests.peers import missing
from tests.products import visit
from tests.products.machine import LUA, SHIPPED
from tests.products.page import Page

__all__ = ["debs", "wheel", "wheels_release"]

pytestmark = [pytest.mark.stranger, pytest.mark.timeout(BUILT_WITHIN_S)]

DEBIANS: Final = {"bookworm": "2.6", "trixie": "3.0"}  # its HAProxy
FIRST: Final = "from nothing to guarded"
FIVE_MINUTES: Final = 300.0
COMMAND_S: Final = 120.0
DECISIONS: Final = "/etc/crowdsec/decisions"

UNIT: Final = """\
[Unit]
Before=haproxy.service
[Service]
Type=exec
ExecStart={command}
Restart=always
RestartSec=100ms
[Install]
WantedBy=multi-user.target
"""
SITE: Final = """\
defaults
    mode http
    timeout client 10s
frontend site
    bind 127.0.0.1:8081
    http-request return status 200
"""
# In the place of CrowdSec's own, whose agent here reads its decisions from a file.
CSCLI: Final = f"""\
#!/bin/sh
[ "$1 $2 $3 $5" = "decisions add --ip --duration" ] && echo "$4 ban" >> {DECISIONS}
"""


@dataclass(frozen=True)
class Product:
    """An agent on a machine. ``unit``: what its own package calls it. ``port``: where HAProxy listens in the shipped file.

    ``visits``: client, path and status, which hold with the guard and without it once the page's commands were run.
    """

    page: str
    kind: RealAgent
    unit: str
    arguments: str
    port: int
    visits: tuple[tuple[str, str, int], ...]


PRODUCTS: Final = {
    "coraza": Product("coraza", WAF, "coraza-spoa", "", 80, (("127.0.0.1", "/?x=/etc/passwd", 403), ("127.0.0.1", "/", 200))),
    "crowdsec": Product(
        "crowdsec",
        CROWDSEC,
        "crowdsec-spoa-bouncer",
        f"--decisions {DECISIONS}",
        9090,
        (("127.0.0.2", "/", 403), ("127.0.0.1", "/", 200)),
    ),
}


# The release of Debian, the product, and the HAProxy that it is behind.
PATHS: Final = (
    ("bookworm", "coraza", "2.6"),
    ("bookworm", "coraza", "3.2"),
    ("bookworm", "crowdsec", "2.6"),
    ("bookworm", "crowdsec", "3.2"),
    ("trixie", "coraza", "3.0"),
)


@pytest.fixture(scope="module")
def with_haproxy(release, tmp_path_factory) -> Iterator[Root]:
    """A bare Debian with what every reader has: systemd and the `kill` by which it reloads a service, HAProxy, curl."""
    with Root.bare(release, tmp_path_factory.mktemp("stranger") / "root") as root:
        root.run("apt-get", "install", "systemd", "procps", "haproxy", "curl")
        yield root


@pytest.fixture
def root(with_haproxy, tmp_path) -> Iterator[Root]:
    """Such a Debian of a test's own."""
    with with_haproxy.copy(tmp_path / "root") as root:
        yield root


def install(root: Root, product: Product, at: str | None = None) -> None:
    """Put the product on that machine, with HAProxy's files as they are shipped. ``at``: an HAProxy in place of Debian's own."""
    if not product.kind.program.exists():
        missing(f"agent {product.kind.name} not built", "make agents")
    for file in (SHIPPED / product.page).iterdir():
        folder = LUA if file.suffix == ".lua" else "/etc/haproxy"
        (root.path / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        root.put(file, folder.lstrip("/"))
    (root.path / DECISIONS.lstrip("/")).parent.mkdir()
    (root.path / DECISIONS.lstrip("/")).touch()
    script(root, "usr/bin/cscli", CSCLI)
    (root.path / "etc/site.cfg").write_text(SITE)
    shutil.copy(product.kind.program, root.path / "usr/bin" / product.unit)
    commands = {
        product.unit: f"/usr/bin/{product.unit} --listen 127.0.0.1:9000 {product.arguments}",
        "site": "/usr/sbin/haproxy -db -f /etc/site.cfg",
    }
    for name, command in commands.items():
        (root.path / f"etc/systemd/system/{name}.service").write_text(UNIT.format(command=command))
        root.run("systemctl", "enable", name)
    if at is not None:
        generations.find(at)
        shutil.copytree(generations.HOME / at, root.path / "opt/haproxy", symlinks=True)
        script(root, "usr/sbin/haproxy", '#!/bin/sh\nexec /opt/haproxy/haproxy "$@"\n')


def script(root: Root, path: str, text: str) -> None:
    (root.path / path).unlink(missing_ok=True)
    (root.path / path).write_text(text)
    (root.path / path).chmod(0o755)


@contextlib.contextmanager
def visited(machine: Machine, product: Product) -> Iterator[None]:
    """Have visitors ask all the while; each must get what it is to get."""
    apart = ["nsenter", "--target", str(machine.first_process()), "--net", sys.executable, visit.__file__, str(product.port)]
    visits = [",".join(map(str, each)) for each in product.visits]
    with subprocess.Popen([*apart, *visits], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "going\n"
            yield
            came = json.loads(process.communicate(timeout=2 * COMMAND_S)[0])
        finally:
            process.kill()
    print(came)
    assert came["wrong"] == {}
    assert came["right"] > visit.SOME


def play(machine: Machine, product: Product, title: str) -> None:
    """Run the page's commands of that title; each must succeed, and print what the page says."""
    for command in Page(product.page).commands(title):
        restarts = command.line == f"systemctl restart {product.unit}"
        began = time.monotonic()
        with visited(machine, product) if restarts else contextlib.nullcontext():
            done = machine.run("sh", "-lc", f"cd /root && {command.line}", succeeds=False, within_s=COMMAND_S)
        print(f"{time.monotonic() - began:5.1f} s  {command.line}\n{done.stdout}{done.stderr}")
        assert done.returncode == 0, machine.said("journalctl", "--lines=40", "--no-pager")
        assert command.prints is None or done.stdout.strip() == command.prints, command.line


def wait_until_served(machine: Machine, product: Product) -> None:
    """Wait until the agent answers, which may have rules to load, and HAProxy has the site's page."""
    _, path, expected = product.visits[-1]
    ask = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", f"http://127.0.0.1:{product.port}{path}"]
    wait_until(lambda: machine.run(*ask, succeeds=False).stdout == str(expected), f"{product.unit} answers", COMMAND_S)


def answers(machine: Machine) -> float:
    """Return how many answers of the agent the guard has passed on."""
    metrics = machine.said("curl", "--silent", "http://127.0.0.1:9464/metrics")
    return sum(map(float, re.findall(r"^spoe_guard_notify_ack_seconds_count{.*} (\S+)$", metrics, re.MULTILINE)))


def take_on_groups(root: Root, machine: Machine, product: Product) -> None:
    """Have the guard run with the page's drop-ins of its unit: it is then a member of the groups that they name."""
    for block in Page(product.page).blocks:
        if block.language == "ini":
            [group] = re.findall(r"^SupplementaryGroups=(\S+)$", block.text, re.MULTILINE)
            machine.run("groupadd", "--system", group)
            file = root.path / block.title.lstrip("/")
            file.parent.mkdir(exist_ok=True)
            file.write_text(block.text)
            machine.run("systemctl", "daemon-reload")
            machine.run("systemctl", "restart", "spoe-guard")
            number = machine.said("getent", "group", group).split(":")[2]
            process = machine.said("systemctl", "show", "--property=MainPID", "--value", "spoe-guard")
            assert number in machine.said("grep", "^Groups:", f"/proc/{process}/status").split()


@pytest.mark.parametrize(("release", "name", "at"), PATHS, scope="module")
def test_a_stranger_has_it_guarded_in_five_minutes_and_back_again(release, name, at, root, debs):
    product = PRODUCTS[name]
    install(root, product, None if at == DEBIANS[release] else at)
    package = root.put(debs[release], "root")
    root.run("apt-get", "install", "--download-only", package)  # what it needs: the machine below has no network
    with root.booted() as machine:
        assert f"version {at}" in machine.said("haproxy", "-v")
        wait_until_served(machine, product)
        began = time.monotonic()
        play(machine, product, FIRST)
        seconds = time.monotonic() - began
        print(f"{name} on {release} with HAProxy {at}: guarded in {seconds:.0f} s")
        assert seconds < FIVE_MINUTES
        assert answers(machine) > visit.SOME
        take_on_groups(root, machine, product)
        wait_until_served(machine, product)
        play(machine, product, "go back")
        assert machine.run("systemctl", "is-active", "spoe-guard", succeeds=False).stdout.strip() == "inactive"
        for file in (SHIPPED / product.page).glob("*.cfg"):
            assert machine.said("cat", f"/etc/haproxy/{file.name}") == file.read_text().strip()
        wait_until_served(machine, product)


@pytest.mark.parametrize("release", ["bookworm"], scope="module")
def test_a_stranger_gets_as_far_with_pipx_and_the_wheel(release, root, wheel, wheels_release):
    if wheels_release != release:
        pytest.skip(f"the wheel is for {wheels_release}: make venv PYTHON=python3.11")
    product = PRODUCTS["coraza"]
    install(root, product)
    root.run("apt-get", "install", "--download-only", "pipx")
    root.put(wheel, "root")
    (root.path / "wheels").mkdir()
    download = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--dest", root.path / "wheels"]
    subprocess.run([*download, wheel, "pip", "setuptools", "wheel"], check=True)
    (root.path / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    with root.booted() as machine:
        wait_until_served(machine, product)
        began = time.monotonic()
        play(machine, product, f"{FIRST}, with pipx")
        assert time.monotonic() - began < FIVE_MINUTES
        assert answers(machine) > visit.SOME
