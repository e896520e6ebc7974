"""`spoe-guard example` prints and writes the files of config/."""

import subprocess
from pathlib import Path

import pytest
import yaml

from spoe_guard.examples import EXAMPLES, folder, listed, printed, written
from tests.peers import ROOT
from tests.running import spoe_guard

CONFIG = ROOT / "config"
ASKED_FOR = ("config", "systemd", "haproxy", "alerts", "dashboard", "fleet", "compose")


def shipped() -> set[str]:
    """The files of config/ that git knows, by their paths in there."""
    named = subprocess.run(["git", "ls-files", "config"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    files = named.split() or [path.relative_to(ROOT).as_posix() for path in CONFIG.rglob("*") if path.is_file()]
    return {name.removeprefix("config/") for name in files}


def shown(name: str) -> list[str]:
    """The files below the name of an example in the list."""
    lines = list(listed())
    below = next(index for index, line in enumerate(lines) if line.split()[0] == name) + 1
    end = next((index for index in range(below, len(lines)) if not lines[index].startswith(" ")), len(lines))
    return [line.strip() for line in lines[below:end]]


def test_every_file_of_config_belongs_to_an_example(tmp_path):
    reached = set()
    for name in EXAMPLES:
        reached |= {path.read_bytes() for path in written(name, tmp_path / name)}
    assert {name for name in shipped() if (CONFIG / name).read_bytes() not in reached} == set()
    assert {name for example in EXAMPLES for name in shown(example)} <= shipped()


def test_in_a_checkout_the_files_are_those_of_config():
    assert folder() == CONFIG


def test_the_six_that_were_asked_for_are_there():
    assert set(ASKED_FOR) <= EXAMPLES.keys()


@pytest.mark.parametrize("name", [name for name in EXAMPLES if len(shown(name)) == 1])
def test_one_file_is_printed_as_it_is(name):
    [file] = shown(name)
    done = spoe_guard("example", name)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", (CONFIG / file).read_text())


def test_of_several_files_each_stands_below_its_path():
    text = "\n".join(printed("systemd")) + "\n"
    parts = [f"# --- {file}\n{(CONFIG / file).read_text()}" for file in shown("systemd")]
    assert len(parts) == 2
    assert text == "".join(parts)


def test_one_of_several_files_is_printed_alone():
    done = spoe_guard("example", "systemd/spoe-guard.socket")
    assert (done.returncode, done.stdout) == (0, (CONFIG / "systemd/spoe-guard.socket").read_text())


def test_without_a_name_all_are_listed():
    done = spoe_guard("example")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines() if not line.startswith(" ")] == list(EXAMPLES)


@pytest.mark.parametrize("name", ["sytemd", "../pyproject.toml", "systemd/../spoe-guard.yaml", "prometheus", ""])
def test_what_is_no_example_is_refused_with_the_list(name):
    done = spoe_guard("example", name)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"spoe-guard: example: there is no {name!a}; there are {', '.join(EXAMPLES)}, ")


def test_files_are_written_below_a_folder_and_replace_none(tmp_path):
    to = tmp_path / "units"
    done = spoe_guard("example", "systemd", "--to", str(to))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [str(to / "spoe-guard.service"), str(to / "spoe-guard.socket")]
    assert (to / "spoe-guard.socket").read_text() == (CONFIG / "systemd/spoe-guard.socket").read_text()
    (to / "spoe-guard.service").unlink()
    (to / "spoe-guard.socket").write_text("mine")
    again = spoe_guard("example", "systemd", "--to", str(to))
    assert (again.returncode, again.stdout) == (2, "")
    message = f"spoe-guard: --to: {to}/spoe-guard.socket is there already; remove it, or choose another folder\n"
    assert again.stderr == message
    assert [path.name for path in to.iterdir()] == ["spoe-guard.socket"]  # nothing was written
    assert (to / "spoe-guard.socket").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = spoe_guard("example", "config", "--to", str(tmp_path / "file"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"spoe-guard: example: {tmp_path}/file: File exists\n"


def test_all_that_compose_mounts_is_written_with_it(tmp_path):
    made = {path.relative_to(tmp_path).as_posix() for path in written("compose", tmp_path)}
    services = yaml.safe_load((tmp_path / "docker-compose.yaml").read_text())["services"]
    mounts = [volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    assert mounts
    assert all((tmp_path / mount).exists() for mount in mounts)
    assert {Path(name).name for name in made} == {
        "docker-compose.yaml", "haproxy.cfg", "spoe.conf", "guard.yaml", "prometheus.yml", "rules.yml",
    }  # fmt: skip


BOARDS = {"spoe-guard.json", "spoe-guard-fleet.json"}  # they lead to one another


@pytest.mark.parametrize(
    ("name", "files"), [("alerts", {"rules.yml", "prometheus.yml"}), ("dashboard", BOARDS), ("fleet", BOARDS)]
)
def test_what_belongs_beside_a_file_is_written_with_it(tmp_path, name, files):
    assert {path.relative_to(tmp_path).as_posix() for path in written(name, tmp_path)} == files
