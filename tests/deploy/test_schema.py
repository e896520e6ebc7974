"""Kubernetes and the Prometheus operator accept every object, without unknown fields."""

import pytest

from tests.deploy import strict
from tests.deploy.bundle import CHART, Bundle, bundle, helm, template


@pytest.mark.parametrize("version", strict.VERSIONS)
def test_every_object_has_only_fields_that_exist_and_all_that_must_be(way: Bundle, version: str):
    assert [message for document in way.documents if (message := strict.complaint(document, version))] == []


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("Deployment", ("spec", "template", "spec", "initContainers", 0, "securityContext"), "readOnlyRootFileSystem"),
        ("Deployment", ("spec", "template", "spec"), "terminationGracePeriod"),
        ("NetworkPolicy", ("spec", "ingress", 1, "from", 0), "namespaceSelectors"),
        ("ConfigMap", ("metadata",), "lables"),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0), "relabeling"),
        ("PodMonitor", ("spec",), "podMetricsEndpoint"),
        ("PodMonitor", ("metadata",), "lables"),
    ],
)
def test_a_misspelt_field_is_caught(kind, path, wrong):
    document = bundle("sidecar").one(kind)
    assert not strict.complaint(document, strict.VERSIONS[0])
    inside = document
    for key in path:
        inside = inside[key]
    inside[wrong] = {}
    assert f"'{wrong}' was unexpected" in strict.complaint(document, strict.VERSIONS[0])


def test_a_field_that_must_be_there_is_missed():
    document = bundle("deployment").one("PodMonitor")
    del document["spec"]["selector"]
    assert strict.complaint(document, strict.VERSIONS[0]) == "PodMonitor: spec: 'selector' is a required property"


@pytest.mark.parametrize("version", strict.VERSIONS)
def test_helm_has_nothing_against_the_chart(version):
    message = helm("lint", "--strict", "--kube-version", version, CHART)
    assert "1 chart(s) linted, 0 chart(s) failed" in message
    assert "WARNING" not in message


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"replica": 3}, "additional properties 'replica' not allowed"),
        ({"networkPolicy": {"haproxy": []}}, "minItems"),
        ({"networkPolicy": {"monitoring": [{}]}}, "minProperties"),
        ({"config": {"admin": {"listen": "127.0.0.1:9464"}}}, "does not match pattern"),
        ({"config": {"admin": {"listen": None}}}, "missing property 'listen'"),
        ({"config": {"routes": [{"name": "a", "listen": "unix:/run/a", "agent": "b:1"}]}}, "does not match pattern"),
        ({"config": {"routes": [{"name": "admin", "listen": "0.0.0.0:1", "agent": "b:1"}]}}, "'not' failed"),
        ({"config": {"routes": [{"name": "a" * 16, "listen": "0.0.0.0:1", "agent": "b:1"}]}}, "maxLength: got 16, want 15"),
        ({"config": {"routes": [{"name": "1", "listen": "0.0.0.0:1", "agent": "b:1"}]}}, "does not match pattern"),
        ({"config": {"routes": [{"listen": "0.0.0.0:1", "agent": "b:1"}]}}, "missing property 'name'"),
        ({"config": {"routes": []}}, "minItems"),
        ({"config": {"routes": [{"name": "a", "listen": "0.0.0.0:1", "agent": []}]}}, "at '/config/routes/0/agent': minItems"),
        ({"config": {"routes": [{"name": "a", "listen": "0.0.0.0:1", "agent": 9000}]}}, "got number, want string or array"),
        ({"replicas": "2"}, "at '/replicas': got string, want integer"),
        ({"image": {"repository": ""}}, "at '/image/repository': minLength"),
        ({"image": {"tag": 0.1}}, "at '/image/tag': got number, want string"),
        ({"service": {"type": "Ingress"}}, "at '/service/type': value must be one of 'ClusterIP', 'NodePort', 'LoadBalancer'"),
        ({"podLabels": {"edge": True}}, "at '/podLabels/edge': got boolean, want string"),
        ({"imagePullSecrets": ["registry"]}, "at '/imagePullSecrets/0': got string, want object"),
        ({"podDisruptionBudget": {"maxUnavailable": "101%"}}, "at '/podDisruptionBudget/maxUnavailable'"),
        ({"serviceMonitor": {"enable": True}}, "additional properties 'enable' not allowed"),
        ({"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}, "would ask each guard twice"),
        ({"preStopSeconds": 30}, "terminationGracePeriodSeconds (30) has to be more than preStopSeconds (30)"),
    ],
)
def test_the_chart_refuses_values_for_no_guard_or_an_open_one(values, complaint):
    with pytest.raises(AssertionError) as refused:
        template(values)
    assert complaint in str(refused.value)


def test_a_port_name_may_be_as_long_as_kubernetes_has_it():
    name = "a" * 15
    made = template({"config": {"routes": [{"name": name, "listen": "0.0.0.0:1", "agent": "b:1"}]}})
    assert made.ports[name] == 1
