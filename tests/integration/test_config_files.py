"""The programs accept the examples in config/ written for them, and the examples agree with one another."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from spoe_guard.settings import Loaded, load, warnings
from tests.integration import generations
from tests.peers import ROOT, need
from tests.running import spoe_guard

CONFIG = ROOT / "config"
COMPOSE = yaml.safe_load((CONFIG / "docker-compose.yaml").read_text())["services"]
PROMETHEUS = yaml.safe_load((CONFIG / "prometheus/prometheus.yml").read_text())


def complaints(haproxy: str, config: Path) -> str:
    """What HAProxy has against a configuration: nothing, if it takes it."""
    done = subprocess.run([haproxy, "-c", "-f", config], capture_output=True, text=True, timeout=20, check=False)
    errors = re.sub(r"\[NOTICE\].*\n", "", done.stderr)
    return errors if done.returncode == 0 else f"exit code {done.returncode}\n{errors}"


def test_debians_haproxy_takes_the_configuration_for_3_0_and_earlier():
    haproxy = need("haproxy")
    version = subprocess.run([haproxy, "-v"], capture_output=True, text=True, check=True).stdout
    if not re.search(r"version (2\.|3\.0)", version):
        pytest.skip(f"not an HAProxy up to 3.0: {version.splitlines()[0]}")
    assert complaints(haproxy, CONFIG / "haproxy/up-to-3.0/haproxy.cfg") == ""


@pytest.mark.parametrize(("version", "folder"), [("2.6", "up-to-3.0"), ("3.0", "up-to-3.0"), ("3.2", "from-3.1")])
def test_haproxy_on_either_side_of_3_1_takes_its_configuration(version, folder):
    assert complaints(generations.find(version).program, CONFIG / "haproxy" / folder / "haproxy.cfg") == ""


def test_haproxy_before_2_5_takes_it_with_absolute_paths_as_it_says(tmp_path):
    folder = CONFIG / "haproxy/up-to-3.0"
    text = (folder / "haproxy.cfg").read_text()
    assert "HAProxy before 2.5 does not know this line: write absolute paths there." in text
    config = tmp_path / "haproxy.cfg"
    config.write_text(text.replace("default-path config", "").replace("config spoe.conf", f"config {folder}/spoe.conf"))
    assert complaints(generations.find("2.2").program, config) == ""


@pytest.mark.parametrize("folder", ["up-to-3.0", "from-3.1"])
def test_the_guard_comes_first_and_the_agent_behind_it_is_the_backup(folder):
    text = (CONFIG / "haproxy" / folder / "haproxy.cfg").read_text()
    servers = re.findall(r"^ *server (\w+) (\S+)(.*)$", text.partition("backend spoe-agents")[2], re.MULTILINE)
    command = COMPOSE["guard"]["command"]
    listen, agent = (command[command.index(flag) + 1] for flag in ("--listen", "--agent"))
    assert servers == [("guard", listen, ""), ("agent", agent, " backup")]


def told(spoe_conf: str, *, hello: bool) -> dict[str, str]:
    """What a spoe.conf says of its agent, by the guard's keys; ``hello``: its `timeout hello` means something."""
    lines = {"timeout_processing": "timeout processing", "set_on_error": "option set-on-error"}
    lines |= {"timeout_hello": "timeout hello"} if hello else {}
    return {key: re.findall(rf"^ *{line} (\S+)$", spoe_conf, re.MULTILINE)[0] for key, line in lines.items()}


def effective(loaded: Loaded) -> dict[str, str]:
    """The settings of the one route that are not defaults, as `check` prints them; without where it listens and dials."""
    rows = {key.removeprefix("routes[0]."): value for key, value, origin in loaded.rows() if origin != "default"}
    return {key: value for key, value in rows.items() if key not in ("listen", "agent")}


@pytest.mark.parametrize("folder", ["up-to-3.0", "from-3.1"])
def test_the_guard_is_told_what_spoe_conf_says_of_the_agent(folder):
    beside = CONFIG / "haproxy" / folder
    loaded = load(beside / "guard.yaml")
    said = told((beside / "spoe.conf").read_text(), hello=folder == "up-to-3.0")
    found = effective(loaded)
    assert {key.removeprefix("haproxy."): value for key, value in found.items() if key.startswith("haproxy.")} == said
    assert found["unanswered"] == "{set: error}"
    assert warnings(loaded.settings) == []
    backend = (beside / "haproxy.cfg").read_text().partition("backend spoe-agents")[2]
    [route] = loaded.settings.routes
    assert re.findall(r"^ *server (\w+) (\S+)", backend, re.MULTILINE) == [
        ("guard", str(route.listen)),
        ("agent", str(route.agent[0])),
    ]


def test_compose_tells_the_guard_the_same():
    folder = CONFIG / COMPOSE["haproxy"]["volumes"][0].partition(":")[0]
    environment = dict(COMPOSE["guard"]["environment"])
    assert environment.pop("SPOE_GUARD_PAYLOAD") == "headers"  # all containers reach its page
    assert effective(load(environ=environment)) == effective(load(folder / "guard.yaml"))


def test_compose_lets_the_guard_take_no_more_than_kubernetes_does():
    guard = COMPOSE["guard"]
    manifest = (CONFIG / "kubernetes/deployment.yaml").read_text()
    assert guard["mem_limit"].upper() + "I" == re.search(r"limits:\n +memory: (\S+)", manifest)[1].upper()
    assert guard["pids_limit"] <= 128
    assert (guard["read_only"], guard["cap_drop"]) == (True, ["ALL"])


def test_the_readme_tells_the_guard_the_same(tmp_path):
    """But for `timeout hello`, which may be missing."""
    readme = (ROOT / "README.md").read_text()
    file = tmp_path / "guard.yaml"
    file.write_text(readme.partition("```yaml\n")[2].partition("```")[0])
    assert effective(load(file)) == effective(load(CONFIG / "haproxy/from-3.1/guard.yaml"))


@pytest.mark.parametrize("page", ["README.md", "docs/haproxy.md"])
def test_a_server_that_is_checked_is_asked_for_its_agent(page):
    backends = re.findall(r"```\nbackend spoe-agents\n(.+?)```", (ROOT / page).read_text(), re.DOTALL)
    assert backends
    assert all("    option spop-check" in backend and " check " in backend for backend in backends)


@pytest.mark.parametrize("service", [name for name, service in COMPOSE.items() if "volumes" in service])
def test_what_compose_mounts_exists(service):
    for volume in COMPOSE[service]["volumes"]:
        assert (CONFIG / volume.split(":")[0]).exists(), volume


def test_compose_builds_the_guard_from_this_tree():
    assert (CONFIG / COMPOSE["guard"]["build"] / "Dockerfile").resolve() == ROOT / "Dockerfile"


def test_compose_can_take_another_image_where_there_is_nothing_to_build():
    assert COMPOSE["guard"]["image"] == "${SPOE_GUARD_IMAGE:-spoe-guard:latest}"


def test_compose_puts_everything_into_one_network():
    assert {service.get("network_mode") for name, service in COMPOSE.items() if name != "haproxy"} == {"service:haproxy"}


def targets() -> dict[str, list[str]]:
    """What Prometheus asks, by job."""
    return {job["job_name"]: job["static_configs"][0]["targets"] for job in PROMETHEUS["scrape_configs"]}


def settings_of_compose() -> str:
    """The effective settings of the guard in compose, as `spoe-guard check` prints them."""
    _, *options = COMPOSE["guard"]["command"]
    done = spoe_guard("check", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_prometheus_and_the_healthcheck_ask_the_guards_admin_address():
    admin = re.search(r"^admin\.listen +(\S+)", settings_of_compose(), re.MULTILINE)[1]
    assert targets()["spoe-guard"] == [admin]
    assert f"http://{admin}/healthz" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("folder", ["up-to-3.0", "from-3.1"])
def test_prometheus_asks_haproxy_where_it_listens(folder):
    frontend = (CONFIG / "haproxy" / folder / "haproxy.cfg").read_text().partition("frontend metrics")[2]
    assert targets()["haproxy"] == re.findall(r"bind (\S+)", frontend)
