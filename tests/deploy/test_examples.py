"""The examples for Coraza and CrowdSec: HAProxy and the guard of one pod, with an agent that answers as theirs does."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from spoe_guard.settings import load, warnings
from tests.agents.catalogue import CROWDSEC, WAF
from tests.agents.real import AgentProcess
from tests.deploy.bundle import EXAMPLES, Bundle, bundle, containers
from tests.integration import generations
from tests.integration.conftest import stage
from tests.integration.haproxy import free
from tests.integration.stage import Stage
from tests.integration.test_config_files import complaints, effective, told
from tests.products.machine import Site

__all__ = ["stage"]

HAPROXY = "3.2"  # as the image of the examples
AGENT_GONE = {"ROUTES__0__LINKS__GIVE_UP": "0"}  # no restart is waited for: the answer comes at once


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> Bundle:
    return bundle(request.param)


def engine_name(example: Bundle) -> str:
    """Return the name of the file that HAProxy's SPOE filter reads."""
    [name] = set(example.data("haproxy")) - {"haproxy.cfg"}
    return name


def files(example: Bundle) -> tuple[str, str]:
    """Return HAProxy's configuration, and that of its SPOE filter."""
    return example.data("haproxy")["haproxy.cfg"], example.data("haproxy")[engine_name(example)]


def played(stage: Stage, example: Bundle, agent: str, settings: dict[str, str] | None = None) -> Site:
    """Start the guard of an example in front of an agent, and HAProxy, with an application behind it that says 200."""
    path = stage.folder() / "spoe-guard.yaml"
    path.write_text(example.settings)
    guard = stage.guard(agent, config=path, settings=settings)
    main, engine = (text.replace("{", "{{").replace("}", "}}") for text in files(example))  # for str.format
    exchanged = {
        "bind :8080": "bind fd@{web_fd}",
        "127.0.0.1:12345": guard.address,
        f"    server agent {example.agent}:9000 backup": "    # without the guard there is nothing to see",
        "    server app app:8000": "    http-request return status 200",
        f"config {engine_name(example)}": "config spoe.conf",
    }
    for theirs, ours in exchanged.items():
        assert theirs in main
        main = main.replace(theirs, ours)
    return stage.enter(Site(stage.folder(), (main, engine), generations.find(HAPROXY).program))


def statuses(site: Site, *paths: str, client: str = "") -> list[int]:
    return [site.get(path, client=client).status for path in paths]


def test_haproxy_takes_the_files_of_an_example(example, tmp_path):
    for name, text in example.data("haproxy").items():
        (tmp_path / name).write_text(re.sub(rf"\b(app|{example.agent}):(?=\d)", "127.0.0.1:", text))
    assert complaints(generations.find(HAPROXY).program, tmp_path / "haproxy.cfg") == ""
    [haproxy] = [one for one in containers(example.template) if one["name"] == "haproxy"]
    assert haproxy["image"] == f"haproxy:{HAPROXY}"


def test_the_guard_is_told_what_the_file_of_the_filter_says(example, tmp_path):
    (tmp_path / "guard.yaml").write_text(example.settings)
    loaded = load(tmp_path / "guard.yaml")
    found = effective(loaded)
    said = told(files(example)[1], hello=False) | {"timeout_hello": "null"}  # it means nothing to HAProxy 3.2
    assert {key.removeprefix("haproxy."): value for key, value in found.items() if key.startswith("haproxy.")} == said
    assert (found["unanswered"], found["redispatch"], found["profile"]) == (
        "{set: error}",
        "unanswered",
        loaded.settings.routes[0].name,
    )
    assert not [warning for warning in warnings(loaded.settings) if "admin" not in warning]


def test_haproxy_asks_the_guard_and_both_find_the_agents_service(example, tmp_path):
    [route] = example.effective(tmp_path).routes
    main, _ = files(example)
    assert re.findall(r"^ *server (guard|agent) (\S+)", main, re.MULTILINE) == [
        ("guard", str(route.listen)),
        ("agent", str(route.agent[0])),
    ]
    services = {one["metadata"]["name"]: one["spec"]["ports"][0]["port"] for one in example.all("Service")}
    assert services[route.agent[0].host] == route.agent[0].port


def test_the_guard_of_an_example_is_that_of_the_sidecar(example):
    sidecar = bundle("sidecar")
    assert example.guard == sidecar.guard
    mine, theirs = ([one["spec"]["ingress"] for one in each.of_the_guards_pod("NetworkPolicy")] for each in (example, sidecar))
    assert mine == theirs


def test_only_haproxys_pods_reach_the_agent(example):
    [policy] = [one for one in example.all("NetworkPolicy") if one["metadata"]["name"] == example.agent]
    haproxy = {"app.kubernetes.io/name": "haproxy"}
    assert policy["spec"]["ingress"] == [{"from": [{"podSelector": {"matchLabels": haproxy}}], "ports": [{"port": 9000}]}]
    assert haproxy.items() <= example.template["metadata"]["labels"].items()


def test_coraza_refuses_an_attack_and_what_it_could_not_judge(stage):
    agent = stage.enter(AgentProcess(WAF, stage.folder()))
    site = played(stage, bundle("coraza"), agent.address, AGENT_GONE)
    assert statuses(site, "/", "/?x=/etc/passwd", "/shop?article=7") == [200, 403, 200]
    agent.kill()
    assert statuses(site, "/", "/?x=/etc/passwd") == [500, 500]


def test_crowdsec_bans_and_what_nobody_looked_up_does_not_pass(stage):
    decisions = stage.folder() / "decisions"
    decisions.write_text("127.0.0.2 ban\n127.0.0.3 captcha\n")
    agent = stage.enter(AgentProcess(CROWDSEC, stage.folder(), more=("--decisions", str(decisions))))
    site = played(stage, bundle("crowdsec"), agent.address, AGENT_GONE)
    clients = [f"127.0.0.{number}" for number in (1, 2, 3, 4)]
    assert [statuses(site, "/", client=client) for client in clients] == [[200], [403], [403], [200]]
    agent.kill()
    assert [statuses(site, "/", client=client) for client in clients] == [[503]] * 4


@pytest.mark.parametrize(("name", "kind"), [("coraza", WAF), ("crowdsec", CROWDSEC)])
def test_a_restart_of_the_agent_costs_no_request(name, kind, stage):
    address = "{}:{}".format(*stage.enter(free()).getsockname())
    agent = stage.enter(AgentProcess(kind, stage.folder(), listen=address))
    site = played(stage, bundle(name), address)
    assert statuses(site, "/") == [200]
    with ThreadPoolExecutor() as pool:
        agent.kill()
        waiting = [pool.submit(statuses, site, "/") for _ in range(4)]
        stage.enter(AgentProcess(kind, stage.folder(), listen=address))
        assert [each.result() for each in waiting] == [[200]] * 4
