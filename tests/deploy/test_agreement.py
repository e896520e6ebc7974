"""Values repeated in the manifests, in the chart and in the rest of this tree agree."""

import re
from typing import Any

import pytest
import yaml

from spoe_guard import __version__
from spoe_guard.settings import session_config
from tests.alerts.rules import RULES
from tests.deploy.bundle import CHART, KUBERNETES, Bundle, bundle, documents, helm, template
from tests.peers import ROOT
from tests.running import spoe_guard

# Beside the drain, the end waits for a resolver that does not answer (2 times 5 s) and for the last log lines.
SPARE_S = 12


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


def test_who_is_selected_is_the_guards_pod(way: Bundle):
    labels = way.template["metadata"]["labels"]
    selectors = [{"matchLabels": service["spec"]["selector"]} for service in way.all("Service")]
    selectors += [policy["spec"]["podSelector"] for policy in way.all("NetworkPolicy")]
    selectors += [
        one["spec"]["selector"] for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor") for one in way.all(kind)
    ]
    selectors += [one["labelSelector"] for one in way.template["spec"].get("topologySpreadConstraints", [])]
    assert all(selects(selector, labels) for selector in selectors), selectors


def test_the_service_leads_to_every_route(way: Bundle):
    for service in way.all("Service"):
        leads = {port["targetPort"]: port["port"] for port in service["spec"]["ports"]}
        assert leads == {name: port for name, port in way.ports.items() if name != "admin"}


def test_only_haproxy_reaches_the_routes_and_only_monitoring_the_admin_port(way: Bundle):
    monitoring = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    haproxy = [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "haproxy"}}}]
    for policy in way.all("NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress"]
        let_in = [(port["port"], rule.get("from")) for rule in policy["spec"]["ingress"] for port in rule["ports"]]
        for name, number in way.ports.items():
            assert [who for port, who in let_in if port == number] == [monitoring if name == "admin" else haproxy]


def test_prometheus_scrapes_the_admin_port_with_the_job_of_the_rules(way: Bundle):
    jobs = set(re.findall(r'job="([^"]+)"', RULES.read_text()))
    for monitor in way.all("PodMonitor"):
        [endpoint] = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in way.ports
        assert endpoint.get("path", "/metrics") == "/metrics"  # what the operator's own default is
        assert {one["replacement"] for one in endpoint["relabelings"] if one["targetLabel"] == "job"} == jobs


def test_the_rules_of_the_chart_are_those_of_prometheus_also_when_packaged(tmp_path):
    helm("package", CHART, "--destination", tmp_path)
    values = ("--set", "prometheusRule.enabled=true", "--show-only", "templates/prometheusrule.yaml", "--kube-version", "1.29")
    for chart in (CHART, tmp_path / f"spoe-guard-{__version__}.tgz"):
        [rule] = documents(helm("template", "edge", chart, *values))
        assert rule["spec"] == yaml.safe_load(RULES.read_text())


def test_the_chart_and_the_manifests_are_of_this_version(tmp_path):
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
    for way in ("sidecar", "deployment", "chart"):
        assert bundle(way, tmp_path).guard["image"] == f"spoe-guard:{__version__}"


# Labels, which the tests above hold together; what Helm alone writes; and what Kubernetes would put there itself.
NOT_COMPARED = {"labels", "matchLabels", "selector", "annotations", "imagePullPolicy", "sessionAffinity", "type"}


def bare(value: Any) -> Any:
    if isinstance(value, list):
        return [bare(one) for one in value]
    if isinstance(value, dict):
        return {key: bare(one) for key, one in value.items() if key not in NOT_COMPARED}
    return value


def test_the_chart_makes_what_the_manifest_is(tmp_path):
    chart, manifest = template({}, tmp_path, name="spoe-guard"), bundle("deployment", tmp_path)
    for kind in ("Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"):
        assert bare(chart.one(kind)) == bare(manifest.one(kind))
    assert yaml.safe_load(chart.settings) == yaml.safe_load(manifest.settings)


def test_other_settings_make_other_pods_and_equal_ones_do_not(tmp_path):
    def annotation(mode: str) -> str:
        made = template({"config": {"mode": mode}}, tmp_path)
        return made.template["metadata"]["annotations"]["checksum/config"]

    assert annotation("observe") == annotation("observe") != annotation("enforce")


@pytest.mark.parametrize("folder", ["up-to-3.0", "from-3.1"])
def test_haproxy_finds_the_sidecar_where_the_examples_have_the_guard(folder, tmp_path):
    [route] = bundle("sidecar", tmp_path).effective(tmp_path).routes
    assert f"server guard {route.listen}\n" in (ROOT / f"config/haproxy/{folder}/haproxy.cfg").read_text()


def test_every_file_the_page_names_exists():
    page = (ROOT / "docs/kubernetes.md").read_text()
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", page) if "://" not in link}
    named = set(re.findall(r"config/[\w./-]+[\w]", page + "".join(path.read_text() for path in KUBERNETES.iterdir())))
    assert links
    assert named
    assert not [link for link in links if not (ROOT / "docs" / link).exists()]
    assert not [name for name in named if not (ROOT / name).exists()]
