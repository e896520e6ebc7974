"""Values repeated in the manifests, in the chart and in the rest of this tree agree."""

import re
from typing import Any

import pytest
import yaml

from spoe_guard import __version__
from spoe_guard.settings import session_config
from tests.alerts.rules import RULES
from tests.deploy.bundle import CHART, EXAMPLES, KUBERNETES, VALUES, Bundle, bundle, containers, documents, helm, template
from tests.peers import ROOT
from tests.running import spoe_guard
from tests.urls import IMAGE

# Beside the drain, the end waits for the last log lines and captures.
SPARE_S = 2


def selects(selector: dict, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", {})
    keys = [one["key"] for one in selector.get("matchExpressions", []) if one["operator"] == "Exists"]
    assert wanted or keys
    return wanted.items() <= labels.items() and set(keys) <= labels.keys()


def test_the_guard_takes_its_settings(way: Bundle, tmp_path):
    path = tmp_path / "spoe-guard.yaml"
    path.write_text(way.settings)
    done = spoe_guard("check", "--config", str(path))
    assert done.returncode == 0, done.stderr


def test_its_ports_are_those_it_listens_on(way: Bundle, tmp_path):
    settings = way.effective(tmp_path)
    reachable = [(route.name, route.listen) for route in settings.routes if route.listen.host != "127.0.0.1"]
    assert way.ports == {name: where.port for name, where in [*reachable, ("admin", settings.admin.listen)]}
    assert settings.admin.listen.host in {"0.0.0.0", "::"}
    assert (settings.payload, settings.log.payload) == ("headers", "headers")
    assert settings.admin.payload != "full"


def test_every_probe_asks_the_admin_port(way: Bundle):
    assert {"startupProbe", "livenessProbe"} <= way.probes.keys()
    assert {probe["port"] for probe in way.probes.values()} == {"admin"}


def test_an_agent_that_is_down_makes_no_pod_unready(way: Bundle):
    assert "/readyz" not in {probe["path"] for probe in way.probes.values()}


def test_the_guard_is_the_dockerfiles_user_and_may_do_nothing_else(way: Bundle):
    user, group = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE).groups()
    assert way.guard["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user),
        "runAsGroup": int(group),
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert way.template["spec"]["automountServiceAccountToken"] is False


def test_a_pod_has_the_time_that_its_guard_may_take_to_stop(way: Bundle, tmp_path):
    settings = way.effective(tmp_path)
    configs = [session_config(settings, route) for route in settings.routes]
    drain_s = max(config.close_s + 3 * config.disconnect_hold_s for config in configs)  # Guard.drain
    before = way.guard.get("lifecycle", {}).get("preStop", {}).get("exec", {"command": ["sleep", "0"]})["command"]
    assert before[0] == "sleep"
    assert way.template["spec"]["terminationGracePeriodSeconds"] >= int(before[1]) + drain_s + SPARE_S


def test_who_is_selected_are_the_pods_of_one_deployment(way: Bundle):
    pods = [deployment["spec"]["template"]["metadata"]["labels"] for deployment in way.all("Deployment")]
    selectors = [{"matchLabels": service["spec"]["selector"]} for service in way.all("Service")]
    selectors += [policy["spec"]["podSelector"] for policy in way.all("NetworkPolicy")]
    selectors += [one["spec"]["selector"] for one in way.all("PodDisruptionBudget")]
    assert all(sum(selects(selector, labels) for labels in pods) == 1 for selector in selectors), selectors
    for deployment in way.all("Deployment"):
        assert selects(deployment["spec"]["selector"], deployment["spec"]["template"]["metadata"]["labels"])
    own = [one["labelSelector"] for one in way.template["spec"].get("topologySpreadConstraints", [])]
    own += [monitor["spec"]["selector"] for monitor in way.all("PodMonitor")]
    assert all(selects(selector, way.template["metadata"]["labels"]) for selector in own), own


def test_a_service_leads_to_ports_that_its_pods_name(way: Bundle):
    for service in way.all("Service"):
        pods = [one["spec"]["template"] for one in way.all("Deployment")]
        [pod] = [one for one in pods if selects({"matchLabels": service["spec"]["selector"]}, one["metadata"]["labels"])]
        named = {port["name"] for container in containers(pod) for port in container.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named


def test_a_service_leads_to_every_route_another_to_the_admin_port(way: Bundle):
    routes = {name: port for name, port in way.ports.items() if name != "admin"}
    leads = [{port["targetPort"]: port["port"] for port in one["spec"]["ports"]} for one in way.of_the_guards_pod("Service")]
    leads = [each for each in leads if each.keys() & way.ports.keys()]  # the others are HAProxy's
    monitored = {"admin": way.ports["admin"]} if way.all("ServiceMonitor") else {}
    assert leads == [each for each in (routes, monitored) if each]


def test_only_haproxy_reaches_the_routes_and_only_monitoring_the_admin_port(way: Bundle):
    monitoring = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    haproxy = [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "haproxy"}}}]
    for policy in way.of_the_guards_pod("NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        let_in = [(port["port"], rule.get("from")) for rule in policy["spec"]["ingress"] for port in rule["ports"]]
        for name, number in way.ports.items():
            assert [who for port, who in let_in if port == number] == [monitoring if name == "admin" else haproxy]


def test_the_guard_reaches_agents_and_names_and_nothing_else(way: Bundle):
    names = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]
    own = {"app.kubernetes.io/name": "app"}  # in the sidecar's pod HAProxy has servers
    for policy in way.of_the_guards_pod("NetworkPolicy"):
        rules = policy["spec"]["egress"]
        assert all(rule["to"] and all(peer for peer in rule["to"]) for rule in rules)  # an empty one is everybody
        [dns] = [rule for rule in rules if "ports" in rule]
        assert dns == {"to": names, "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
        others = [peer["podSelector"]["matchLabels"] for rule in rules if rule is not dns for peer in rule["to"]]
        assert [each for each in others if each != own] == [{"app.kubernetes.io/name": way.agent}]


def test_prometheus_scrapes_the_admin_port_with_the_job_of_the_rules(way: Bundle):
    jobs = set(re.findall(r'job="([^"]+)"', RULES.read_text()))
    for monitor in [*way.all("PodMonitor"), *way.all("ServiceMonitor")]:
        [endpoint] = monitor["spec"].get("podMetricsEndpoints") or monitor["spec"]["endpoints"]
        assert endpoint["port"] in way.ports
        assert endpoint.get("path", "/metrics") == "/metrics"  # what the operator's own default is
        assert {one["replacement"] for one in endpoint["relabelings"] if one["targetLabel"] == "job"} == jobs


def test_a_service_monitor_selects_the_service_for_the_admin_port_alone():
    made = bundle("chart, monitored by its Service")
    services = {one["metadata"]["name"]: one for one in made.all("Service")}
    selector = made.one("ServiceMonitor")["spec"]["selector"]
    [found] = [name for name, service in services.items() if selects(selector, service["metadata"]["labels"])]
    assert [port["name"] for port in services[found]["spec"]["ports"]] == ["admin"]
    assert made.one("ServiceMonitor")["metadata"]["labels"]["team"] == "edge"


def test_the_names_of_a_long_release_are_still_names():
    made = template(VALUES["chart, monitored by its Service"], name="a" * 53)  # Helm takes no longer one
    names = [document["metadata"]["name"] for document in made.documents]
    assert max(map(len, names)) == 63
    assert len({(one["kind"], one["metadata"]["name"]) for one in made.documents}) == len(names)


def test_the_rules_of_the_chart_are_those_of_prometheus_also_when_packaged(tmp_path):
    helm("package", CHART, "--destination", tmp_path)
    values = ("--set", "prometheusRule.enabled=true", "--show-only", "templates/prometheusrule.yaml", "--kube-version", "1.29")
    for chart in (CHART, tmp_path / f"spoe-guard-{__version__}.tgz"):
        [rule] = documents(helm("template", "edge", chart, *values))
        assert rule["spec"] == yaml.safe_load(RULES.read_text())


def test_the_chart_and_the_manifests_are_of_this_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    for way in ("sidecar", "deployment", "chart", *EXAMPLES):
        assert bundle(way).guard["image"] == f"{IMAGE}:{__version__}"
    assert f'image.version="{__version__}"' in (ROOT / "Dockerfile").read_text()


def test_the_dockerfile_is_for_every_architecture():
    instructions = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    assert "ARG TARGETPLATFORM" in instructions
    assert [line for line in instructions if re.search(r"x86|amd64|i386|arm|aarch", line)] == []


# Labels, which the tests above hold together; what Helm alone writes; and what Kubernetes would put there itself.
NOT_COMPARED = {"labels", "matchLabels", "selector", "annotations", "imagePullPolicy", "sessionAffinity", "type"}


def bare(value: Any) -> Any:
    if isinstance(value, list):
        return [bare(one) for one in value]
    if isinstance(value, dict):
        return {key: bare(one) for key, one in value.items() if key not in NOT_COMPARED}
    return value


def test_the_chart_makes_what_the_manifest_is():
    chart, manifest = template({}, name="spoe-guard"), bundle("deployment")
    for kind in ("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"):
        assert bare(chart.one(kind)) == bare(manifest.one(kind))
    assert yaml.safe_load(chart.settings) == yaml.safe_load(manifest.settings)


def test_other_settings_make_other_pods_and_equal_ones_do_not():
    def annotation(mode: str) -> str:
        made = template({"config": {"mode": mode}})
        return made.template["metadata"]["annotations"]["checksum/config"]

    assert annotation("observe") == annotation("observe") != annotation("enforce")


@pytest.mark.parametrize("folder", ["up-to-3.0", "from-3.1"])
def test_haproxy_finds_the_sidecar_where_the_examples_have_the_guard(folder, tmp_path):
    [route] = bundle("sidecar").effective(tmp_path).routes
    assert f"server guard {route.listen}\n" in (ROOT / f"config/haproxy/{folder}/haproxy.cfg").read_text()


def test_every_file_the_page_names_exists():
    page = (ROOT / "docs/kubernetes.md").read_text()
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", page) if "://" not in link}
    named = set(re.findall(r"config/[\w./-]+[\w]", page + "".join(path.read_text() for path in KUBERNETES.iterdir())))
    assert links
    assert named
    assert not [link for link in links if not (ROOT / "docs" / link).exists()]
    assert not [name for name in named if not (ROOT / name).exists()]
