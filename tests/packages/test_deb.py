"""The Debian package of each release: what is in it, and its life from the installation to the purge, under systemd too."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.debian import Machine, Root
from tests.packages.conftest import RELEASES
from tests.peers import ROOT
from tests.test_locks import read

PLAYED = Path(__file__).with_name("roundtrip.py")
CONFIG = "/etc/spoe-guard/spoe-guard.yaml"
PYTHON = {"bookworm": "python3.11", "trixie": "python3.13"}
HOME = "/usr/lib/spoe-guard"
NOTIFY = ("/usr/lib/spoe-guard/bin/python3", "/opt/roundtrip.py", "--running", "12345", "9000")
# Connections to the guard, one after the other, until an upgrade is done. The first that is refused ends it.
CONNECTING = """\
{upgrade} > /dev/null & upgrade=$!
while kill -0 $upgrade 2> /dev/null; do (exec 3<> /dev/tcp/127.0.0.1/12345) || exit 1; done
wait $upgrade
"""


@dataclass
class Installed:
    """A root with the package in it; it stays as it is."""

    release: str
    deb: Path
    root: Root


def fields(deb: Path, *names: str) -> list[str]:
    """Return these fields of the package's control file."""
    return [subprocess.check_output(["dpkg-deb", "--field", deb, name], text=True).strip() for name in names]


@pytest.fixture(scope="module", params=RELEASES)
def installed(request, debs, tmp_path_factory):
    release = request.param
    with Root.bare(release, tmp_path_factory.mktemp(release) / "root") as root:
        root.run("apt-get", "install", root.put(debs[release]))
        root.put(PLAYED, "opt")
        yield Installed(release, debs[release], root)


@pytest.fixture
def root(installed, tmp_path):
    """A root of a test's own with the package in it."""
    with installed.root.copy(tmp_path / "root") as root:
        yield root


def newer(deb: Path, folder: Path, change: tuple[str, str] = ("", "")) -> Path:
    """Return the package as its next version would be, with a word of its settings changed."""
    unpacked = folder / "next"
    subprocess.run(["dpkg-deb", "--raw-extract", deb, unpacked], check=True)
    control = unpacked / "DEBIAN/control"
    control.write_text(re.sub(r"^(Version: \S+?)~", r"\1.1~", control.read_text(), flags=re.MULTILINE))
    config = unpacked / CONFIG.lstrip("/")
    config.write_text(config.read_text().replace(*change) if change[0] else config.read_text())
    made = folder / "next.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", unpacked, made], check=True, capture_output=True)
    return made


def test_it_is_of_its_release_and_needs_nothing_but_python_and_libc(installed):
    version, depends = fields(installed.deb, "Version", "Depends")
    assert version.endswith(f"-1~deb{RELEASES[installed.release]}")
    names = {re.split(r"[ (]", each.strip())[0] for each in depends.split(",")}
    assert names - {"libgcc-s1", "libstdc++6"} == {"libc6", PYTHON[installed.release], "systemd"}


def test_everything_is_where_debian_has_it(installed):
    listed = set(installed.root.said("dpkg", "--listfiles", "spoe-guard").splitlines())
    folder = "/lib" if installed.release == "bookworm" else "/usr/lib"
    doc = "/usr/share/doc/spoe-guard"
    assert {
        "/usr/bin/spoe-guard",
        CONFIG,
        f"{folder}/systemd/system/spoe-guard.service",
        f"{folder}/systemd/system/spoe-guard.socket",
        "/usr/share/spoe-guard/prometheus/rules.yml",
        "/usr/share/spoe-guard/grafana/spoe-guard.json",
        "/usr/share/spoe-guard/grafana/spoe-guard-fleet.json",
        "/usr/share/spoe-guard/wireshark/spop.lua",
        "/usr/share/man/man1/spoe-guard.1.gz",
        "/usr/share/bash-completion/completions/spoe-guard",
        "/usr/share/zsh/vendor-completions/_spoe-guard",
        "/usr/share/fish/vendor_completions.d/spoe-guard.fish",
        f"{doc}/README.Debian",
        f"{doc}/changelog.gz",
        f"{doc}/changelog.Debian.gz",
        f"{doc}/copyright",
        f"{doc}/docs/runbook.md",
        f"{doc}/examples/spoe-guard.yaml",
        f"{doc}/examples/haproxy/from-3.1/haproxy.cfg",
    } <= listed
    assert installed.root.said("dpkg-query", "--show", "--showformat", "${Conffiles}", "spoe-guard").split()[0::2] == [CONFIG]
    assert {path.split("/")[1] for path in listed} <= {"", ".", "etc", "lib", "usr"}


def test_the_copyright_names_every_package_that_is_in_it(installed):
    told = (installed.root.path / "usr/share/doc/spoe-guard/copyright").read_text()
    site = installed.root.path / f"usr/lib/spoe-guard/lib/{PYTHON[installed.release]}/site-packages"
    inside = {path.name.partition("-")[0] for path in site.glob("*.dist-info")} - {"spoe_guard"}
    assert inside == set(re.findall(r"^Files: wheels/(\w+)-\*$", told, re.MULTILINE))
    locked = read((ROOT / ".ci/locks/package.txt").read_text())
    assert len(inside) == len(locked.keys() - {"colorama"})  # for Windows


def test_the_guard_works_and_no_file_changes_by_that(installed):
    assert "compiled, checked, one NOTIFY and its ACK" in installed.root.said(f"{HOME}/bin/python3", "/opt/roundtrip.py")
    assert installed.root.said("dpkg", "--verify", "spoe-guard") == ""
    made = installed.root.said("find", HOME, "-newer", "/opt/roundtrip.py")
    assert made == "", "bytecode that the installation did not make"


def test_nothing_starts_before_the_operator_says_so(installed):
    for unit in ("spoe-guard.service", "spoe-guard.socket"):
        assert installed.root.run("systemctl", "is-enabled", unit, succeeds=False).stdout.strip() == "disabled"
    assert installed.root.said("spoe-guard", "check", "--config", CONFIG).splitlines()[-1].startswith("OK.")
    assert "mode: observe" in installed.root.said("cat", CONFIG)


def test_systemd_finds_nothing_wrong_and_the_user_cannot_log_in(installed):
    done = installed.root.run("systemd-analyze", "verify", "spoe-guard.service", "spoe-guard.socket")
    assert done.stdout + done.stderr == ""
    user = installed.root.said("getent", "passwd", "spoe-guard").split(":")
    assert 0 < int(user[2]) < 1000
    assert user[6].endswith("/nologin")


def test_an_upgrade_keeps_what_the_operator_wrote(root, installed, tmp_path):
    config = root.path / CONFIG.lstrip("/")
    config.write_text(config.read_text().replace("mode: observe", "mode: enforce"))
    root.run(
        "apt-get",
        "install",
        root.put(newer(installed.deb, tmp_path, ("127.0.0.1:9000 ", "127.0.0.1:9001 "))),
        "--option",
        "Dpkg::Options::=--force-confold",
    )
    assert "mode: enforce" in config.read_text()
    assert "9001" in config.with_name("spoe-guard.yaml.dpkg-dist").read_text()
    assert "compiled, checked" in root.said(f"{HOME}/bin/python3", "/opt/roundtrip.py")


def named_after_it(root: Root) -> set[str]:
    """Return every path that has the guard's name, but for what dpkg, apt and this test know of the package."""
    elsewhere = [
        word for place in ("/var/lib/dpkg", "/var/lib/apt", "/var/cache/apt", "/tmp") for word in ("-path", place, "-prune", "-o")
    ]
    return set(root.said("find", "/", "-xdev", *elsewhere, "-iname", "*spoe[_-]guard*", "-print").splitlines())


def test_a_removal_leaves_the_settings_and_a_purge_nothing(root):
    (root.path / "etc/default/spoe-guard").write_text("SPOE_GUARD_MODE=enforce\n")
    (root.path / "var/lib/private/spoe-guard").mkdir(parents=True)
    root.run("apt-get", "remove", "spoe-guard")
    settings = {"/etc/default/spoe-guard", "/etc/spoe-guard", CONFIG, "/var/lib/private/spoe-guard"}
    assert {path for path in named_after_it(root) if not path.startswith("/var/lib/systemd/")} == settings
    root.run("apt-get", "purge", "spoe-guard")
    assert named_after_it(root) == set()
    assert root.said("getent", "passwd", "spoe-guard")  # as in Debian: what it owned elsewhere stays its own


def main_process(machine: Machine) -> str:
    """Return the process id of the guard that systemd runs; 0 for none."""
    return machine.said("systemctl", "show", "--property=MainPID", "--value", "spoe-guard")


def python_of(machine: Machine) -> str:
    """Return the interpreter that the guard of systemd runs on."""
    return Path(machine.said("readlink", f"/proc/{main_process(machine)}/exe")).name


def listening(machine: Machine) -> list[dict[str, str]]:
    """Return what each guard that was started wrote into the journal when it listened."""
    lines = machine.said("journalctl", "--unit=spoe-guard", "--output=cat").splitlines()
    return [line for line in map(json.loads, (line for line in lines if line.startswith("{"))) if line["event"] == "listening"]


def test_systemd_runs_reloads_upgrades_and_stops_it(root, installed, tmp_path):
    newest = root.put(newer(installed.deb, tmp_path), "opt")
    with root.booted() as machine:
        machine.run("systemctl", "enable", "--now", "spoe-guard")
        assert machine.said(*NOTIFY) == "one NOTIFY and its ACK"
        assert [line["mode"] for line in listening(machine)] == ["observe"]
        first = main_process(machine)
        assert machine.said("stat", "--format=%U", f"/proc/{first}") == "spoe-guard"

        machine.run("sed", "--in-place", "s/^mode: observe/mode: enforce/", CONFIG)
        machine.run("systemctl", "reload", "spoe-guard")
        assert main_process(machine) == first
        assert machine.said(*NOTIFY)

        machine.run("apt-get", "install", newest)
        second = main_process(machine)
        assert second not in ("0", first)
        assert [line["mode"] for line in listening(machine)] == ["observe", "enforce"]
        assert machine.said(*NOTIFY)

        machine.run("apt-get", "remove", "spoe-guard")
        assert machine.run("stat", f"/proc/{second}", succeeds=False).returncode != 0


def test_with_the_socket_unit_the_first_connection_starts_the_guard(root):
    with root.booted() as machine:
        machine.run("systemctl", "enable", "--now", "spoe-guard.socket")
        assert main_process(machine) == "0"
        assert machine.said(*NOTIFY) == "one NOTIFY and its ACK"
        assert main_process(machine) != "0"


def test_with_the_socket_unit_no_connection_is_refused_in_an_upgrade(root, installed, tmp_path):
    newest = root.put(newer(installed.deb, tmp_path), "opt")
    with root.booted() as machine:
        machine.run("systemctl", "enable", "--now", "spoe-guard.socket", "spoe-guard.service")
        first = main_process(machine)
        machine.run("bash", "-c", CONNECTING.format(upgrade=f"apt-get install {newest}"))
        assert main_process(machine) not in ("0", first)
        assert machine.said(*NOTIFY) == "one NOTIFY and its ACK"


@pytest.mark.parametrize("installed", ["bookworm"], indirect=True)
def test_an_upgrade_of_debian_leaves_the_guard_running_on_its_python(root, installed, debs):
    """The package of the new release then takes it to the new Python, and apt may remove the old one."""
    root.run("apt-get", "install", "python3")  # the default one, which the upgrade replaces
    sources = root.path / "etc/apt/sources.list"
    sources.write_text(sources.read_text().replace("bookworm", "trixie"))
    root.run("apt-get", "-qq", "update")
    root.run("apt-get", "dist-upgrade", "--download-only")  # the machine has no network
    new = root.put(debs["trixie"], "opt")
    with root.booted() as machine:
        machine.run("systemctl", "enable", "--now", "spoe-guard")
        first = main_process(machine)
        machine.run("apt-get", "dist-upgrade")
        assert machine.said("python3", "--version").startswith("Python 3.13.")
        assert main_process(machine) == first
        assert machine.said(*NOTIFY)
        machine.run("systemctl", "restart", "spoe-guard")
        assert python_of(machine) == PYTHON["bookworm"]
        assert machine.said(*NOTIFY)

        machine.run("apt-get", "install", new)
        machine.run("apt-get", "autoremove")
        assert python_of(machine) == PYTHON["trixie"]
        assert machine.run("stat", f"/usr/bin/{PYTHON['bookworm']}", succeeds=False).returncode != 0
        assert machine.said(*NOTIFY)
