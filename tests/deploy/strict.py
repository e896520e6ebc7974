"""Kubernetes' and the Prometheus operator's objections to an object. An unknown field is a fault."""

import re
from functools import cache
from typing import Any

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator, ValidationError

from tests.deploy.tools import CRDS
from tests.peers import missing

VERSIONS = ("1.29", kubernetes_validate.latest_version())  # the first with native sidecars, and the last that is known
OPERATORS = "monitoring.coreos.com/"


_FLAG = re.compile(r"^(.+)(\(\?i\))")  # Go takes it anywhere, Python at the start alone


def complaint(document: dict[str, Any], version: str) -> str:
    """Return what that version of Kubernetes has against an object; nothing, if it takes it."""
    try:
        if document["apiVersion"].startswith(OPERATORS):
            operators(document["kind"]).validate(document)
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": document["metadata"]}  # of all kinds the same
        kubernetes_validate.validate(document, version, strict=True)
    except ValidationError as error:
        return f"{document['kind']}: {'.'.join(map(str, error.absolute_path))}: {error.message}"
    return ""


@cache
def operators(kind: str) -> Draft202012Validator:
    """Return what judges one of the operator's kinds."""
    path = CRDS / f"monitoring.coreos.com_{kind.lower()}s.yaml"
    if not path.exists():
        missing("no CustomResourceDefinitions of the Prometheus operator", "make helm")
    [version] = [version for version in yaml.safe_load(path.read_text())["spec"]["versions"] if version["name"] == "v1"]
    schema = closed(version["schema"]["openAPIV3Schema"])
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def closed(schema: Any) -> Any:
    """Return a schema that allows no properties but those it names, as `kubectl apply --validate=strict` takes it."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if isinstance(pattern := inner.get("pattern"), str):
        inner["pattern"] = _FLAG.sub(r"\2\1", pattern)
    if isinstance(inner.get("properties"), dict) and inner.get("type") == "object":
        inner.setdefault("additionalProperties", False)
    return inner
