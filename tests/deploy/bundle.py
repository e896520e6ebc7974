"""The objects of one way to run the guard in Kubernetes, and access to their fields."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
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
WAYS = ("sidecar", "deployment", *VALUES)


@dataclass(frozen=True)
class Bundle:
    """``documents``: all objects; those of the Prometheus operator may be among them."""

    documents: list[dict[str, Any]]

    def all(self, kind: str) -> list[dict[str, Any]]:
        return [document for document in self.documents if document["kind"] == kind]

    def one(self, kind: str) -> dict[str, Any]:
        [found] = self.all(kind)
        return found

    @property
    def template(self) -> dict[str, Any]:
        """The pod the guard is in."""
        found: dict[str, Any] = self.one("Deployment")["spec"]["template"]
        return found

    @property
    def guard(self) -> dict[str, Any]:
        """The guard's container."""
        pod = self.template["spec"]
        [found] = [one for one in pod.get("initContainers", []) + pod["containers"] if one["name"] == "spoe-guard"]
        container: dict[str, Any] = found
        return container

    @property
    def probes(self) -> dict[str, dict[str, Any]]:
        return {name: self.guard[name]["httpGet"] for name in PROBES if name in self.guard}

    @property
    def ports(self) -> dict[str, int]:
        """Those the guard's container names."""
        return {port["name"]: port["containerPort"] for port in self.guard["ports"]}

    @property
    def settings(self) -> str:
        """What the guard finds where it is told to look."""
        run, flag, path = self.guard["args"]
        assert (run, flag) == ("run", "--config")
        [volume] = [mount["name"] for mount in self.guard["volumeMounts"] if mount["mountPath"] == str(Path(path).parent)]
        [source] = [one["configMap"]["name"] for one in self.template["spec"]["volumes"] if one["name"] == volume]
        [config] = [one for one in self.all("ConfigMap") if one["metadata"]["name"] == source]
        text: str = config["data"][Path(path).name]
        return text

    def effective(self, folder: Path) -> Settings:
        """Return the settings in effect."""
        path = folder / "spoe-guard.yaml"
        path.write_text(self.settings)
        return load(path).settings


def helm(*arguments: str | Path) -> str:
    """Run Helm and return what it printed.

    Raises:
        AssertionError: it failed; the message is what it said.
    """
    if not HELM.exists():
        missing("no Helm", "make helm")
    done = subprocess.run([HELM, *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


def template(values: dict[str, Any], folder: Path, name: str = "edge") -> Bundle:
    """Return what Helm makes of the chart with these values, for a release of that name."""
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    made = helm("template", name, CHART, "--kube-version", VERSIONS[0], "--values", path)
    return Bundle(list(documents(made)))


def documents(text: str) -> Iterator[dict[str, Any]]:
    return (document for document in yaml.safe_load_all(text) if document is not None)


def bundle(way: str, folder: Path) -> Bundle:
    """Return the objects of one of the WAYS."""
    if way in VALUES:
        return template(VALUES[way], folder)
    files = (KUBERNETES / f"{way}.yaml", KUBERNETES / "podmonitor.yaml")
    return Bundle([document for file in files for document in documents(file.read_text())])
