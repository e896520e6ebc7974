"""The objects of one way to run the guard in Kubernetes, and access to their fields."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from spoe_guard.settings import Settings, load
from tests.deploy.strict import VERSIONS
from tests.deploy.tools import HELM
from tests.peers import ROOT, missing

KUBERNETES = ROOT / "config/kubernetes"
CHART = ROOT / "config/helm/spoe-guard"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")

# Every part of the chart is used by one of these.
VALUES: dict[str, dict[str, Any]] = {
    "chart": {},
    "chart, monitored": {"podMonitor": {"enabled": True, "labels": {"team": "edge"}}, "prometheusRule": {"enabled": True}},
    "chart, monitored by its Service": {"serviceMonitor": {"enabled": True, "labels": {"team": "edge"}}},
    "chart, without what may be left out": {"podDisruptionBudget": {"enabled": False}, "networkPolicy": {"enabled": False}},
    "chart, two routes": {
        "config": {
            "mode": "observe",
            "routes": [
                {"name": "waf", "listen": "[::]:12345", "agent": ["waf-a:9000", "waf-b:9000"], "hello": {"profile": "criteo"}},
                {"name": "bots-2", "listen": "[::]:12346", "agent": "bots:9000", "limits": {"held_bytes": 1048576}},
            ],
            "admin": {"listen": "[::]:9465", "payload": "off"},
            "capture": {"dir": "/captures"},
        },
    },
    "chart, all else": {
        "image": {"repository": "registry.example:5000/edge/spoe-guard", "tag": "1.2.3", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "replicas": 3,
        "service": {"type": "NodePort", "sessionAffinity": "ClientIP", "annotations": {"team": "edge"}},
        "preStopSeconds": 15,
        "terminationGracePeriodSeconds": 45,
        "podDisruptionBudget": {"maxUnavailable": "50%"},
        "podLabels": {"team": "edge"},
        "podAnnotations": {"team": "edge"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}},
        "volumes": [{"name": "captures", "emptyDir": {"sizeLimit": "300Mi"}}],
        "volumeMounts": [{"name": "captures", "mountPath": "/captures"}],
    },
}
# The examples with an agent that people run, and the label of its pods.
EXAMPLES = {"coraza": "coraza", "crowdsec": "crowdsec-bouncer"}
WAYS = ("sidecar", "deployment", *EXAMPLES, *VALUES)


@dataclass(frozen=True)
class Bundle:
    """``documents``: all objects; those of the Prometheus operator may be among them. ``agent``: the name of the agent's pods."""

    documents: list[dict[str, Any]]
    agent: str = "spoe-agent"

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [document for document in self.documents if document["kind"] == kind]

    def one(self, kind: str) -> dict[str, Any]:
        [found] = self.all(kind)
        return found

    @property
    def template(self) -> dict[str, Any]:
        """The pod the guard is in."""
        templates = [deployment["spec"]["template"] for deployment in self.all("Deployment")]
        [found] = [one for one in templates if "spoe-guard" in {each["name"] for each in containers(one)}]
        return found

    def of_the_guards_pod(self, kind: str) -> list[dict[str, Any]]:
        """Return the NetworkPolicies or Services that are for the pod the guard is in."""
        labels = self.template["metadata"]["labels"].items()
        selectors = [one["spec"].get("podSelector", {}).get("matchLabels") or one["spec"]["selector"] for one in self.all(kind)]
        return [one for one, selector in zip(self.all(kind), selectors, strict=True) if selector.items() <= labels]

    @property
    def guard(self) -> dict[str, Any]:
        """The guard's container."""
        [found] = [one for one in containers(self.template) if one["name"] == "spoe-guard"]
        return found

    @property
    def probes(self) -> dict[str, dict[str, Any]]:
        return {name: self.guard[name]["httpGet"] for name in PROBES if name in self.guard}

    @property
    def ports(self) -> dict[str, int]:
        """Those the guard's container names."""
        return {port["name"]: port["containerPort"] for port in self.guard["ports"]}

    def data(self, name: str) -> dict[str, str]:
        """Return the files of a ConfigMap."""
        [config] = [one for one in self.all("ConfigMap") if one["metadata"]["name"] == name]
        files: dict[str, str] = config["data"]
        return files

    @property
    def settings(self) -> str:
        """What the guard finds where it is told to look."""
        run, flag, path = self.guard["args"]
        assert (run, flag) == ("run", "--config")
        [volume] = [mount["name"] for mount in self.guard["volumeMounts"] if mount["mountPath"] == str(Path(path).parent)]
        [source] = [one["configMap"]["name"] for one in self.template["spec"]["volumes"] if one["name"] == volume]
        return self.data(source)[Path(path).name]

    def effective(self, folder: Path) -> Settings:
        """Return the settings in effect."""
        path = folder / "spoe-guard.yaml"
        path.write_text(self.settings)
        return load(path).settings


def containers(template: dict[str, Any]) -> list[dict[str, Any]]:
    """Return those of a pod, sidecars first."""
    spec = template["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def need_helm() -> Path:
    """Return Helm's path; skip the test, saying how to get it, where it is not there."""
    return HELM if HELM.exists() else missing("no Helm", "make helm")


def helm(*arguments: str | Path, values: str | None = None) -> str:
    """Run Helm and return what it printed; ``values``: what it reads for a file that is named "-".

    Raises:
        AssertionError: it failed; the message is what it said.
    """
    done = subprocess.run([need_helm(), *arguments], input=values, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def template(values: dict[str, Any], name: str = "edge") -> Bundle:
    """Return what Helm makes of the chart with these values, for a release of that name."""
    return Bundle(list(documents(_rendered(yaml.safe_dump(values), name))))


@cache
def _rendered(values: str, name: str) -> str:
    return helm("template", name, CHART, "--kube-version", VERSIONS[0], "--values", "-", values=values)


def documents(text: str) -> Iterator[dict[str, Any]]:
    return (document for document in yaml.safe_load_all(text) if document is not None)


def bundle(way: str) -> Bundle:
    """Return the objects of one of the WAYS."""
    if way in VALUES:
        return template(VALUES[way])
    files = (KUBERNETES / f"{way}.yaml", KUBERNETES / "podmonitor.yaml")
    return Bundle([document for file in files for document in documents(file.read_text())], EXAMPLES.get(way, Bundle.agent))
