"""The chart as a package: what is pushed to an OCI registry and taken from there makes what the folder makes."""

import hashlib
import http.server
import os
import re
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from spoe_guard import __version__
from tests import urls
from tests.deploy.bundle import CHART, helm, need_helm
from tests.peers import ROOT

KUBE = ("--kube-version", "1.29")


class Registry(http.server.ThreadingHTTPServer):
    """As much of an OCI registry as a push and a pull take. ``stored``: blobs and manifests by their paths, each with its type.

    Source: the OCI Distribution Specification 1.1, "Pushing" and "Pulling".
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.stored: dict[str, tuple[bytes, str]] = {}


class _Requests(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry

    def log_message(self, *_args: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        body, kind = self.server.stored.get(self.path, (b"", ""))
        if not kind:
            self.answer(404)
        else:
            self.answer(200, body, Content_Type=kind, Docker_Content_Digest=digest(body))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.answer(202, Location=f"{self.path}1")

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = urlsplit(self.path)
        place, kind, _ = re.fullmatch(r"(/v2/.+)/(blobs/uploads|manifests)/(.+)", asked.path).groups()
        paths = {f"{place}/{kind.partition('/')[0]}/{digest(body)}"}
        if kind == "manifests":
            paths.add(asked.path)  # by its tag too
        else:
            assert parse_qs(asked.query)["digest"] == [digest(body)]
        self.server.stored |= dict.fromkeys(paths, (body, self.headers["Content-Type"]))
        self.answer(201, Location=self.path, Docker_Content_Digest=digest(body))


def digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


@pytest.fixture
def registry(tmp_path, monkeypatch) -> Iterator[Registry]:
    for what in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"HELM_{what}_HOME", str(tmp_path / what))
    with Registry() as registry:
        thread = threading.Thread(target=registry.serve_forever, daemon=True)
        thread.start()
        yield registry
        registry.shutdown()
        thread.join()


@pytest.fixture
def package(tmp_path):
    helm("package", CHART, "--destination", tmp_path)
    return tmp_path / f"spoe-guard-{__version__}.tgz"


def test_the_package_holds_the_chart_and_nothing_else(package):
    with tarfile.open(package) as archive:
        held = {member.name.removeprefix("spoe-guard/") for member in archive if member.isfile()}
    assert held == {str(path.relative_to(CHART)) for path in CHART.rglob("*") if path.is_file()}


def test_a_package_says_where_it_is_from(package):
    shown = yaml.safe_load(helm("show", "chart", package))
    assert (shown["home"], shown["sources"], shown["version"]) == (urls.SITE, [urls.REPOSITORY], __version__)


def test_a_released_chart_from_the_registry_makes_what_the_folder_makes(registry, tmp_path):
    """The script of release.yml pushes it, to a registry that asks for no password and is spoken to without TLS."""
    charts = f"127.0.0.1:{registry.server_port}/charts"
    (tmp_path / "config").symlink_to(ROOT / "config")
    (tmp_path / "helm").write_text(
        f'#!/bin/sh\ncase $1 in registry) exit;; push) set -- "$@" --plain-http;; esac\nexec {need_helm()} "$@"\n'
    )
    (tmp_path / "helm").chmod(0o755)
    told = {"CHARTS": charts, "VERSION": __version__, "USER_NAME": "me", "TOKEN": "x", "GITHUB_OUTPUT": str(tmp_path / "output")}
    path = f"{tmp_path}:{os.environ['PATH']}"
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script()]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | told | {"PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    manifest, _ = registry.stored[f"/v2/charts/spoe-guard/manifests/{__version__}"]
    assert (tmp_path / "output").read_text() == f"digest={digest(manifest)}\n"
    pulled = helm("template", "edge", f"oci://{charts}/spoe-guard", "--version", __version__, "--plain-http", *KUBE)
    assert pulled == helm("template", "edge", CHART, *KUBE)


def script() -> str:
    """Return what release.yml runs to push the chart."""
    steps = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]["chart"]["steps"]
    [found] = [step["run"] for step in steps if "run" in step]
    return found
