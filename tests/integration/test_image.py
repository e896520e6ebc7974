"""The container image, really built and run: see image.py."""

import json
import re
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.utils import canonicalize_name

from spoe_guard import __version__
from tests import urls
from tests.integration.image import BASE, REVISION, STORAGE, Image, built_image
from tests.peers import ROOT, need, need_root

pytestmark = [pytest.mark.image, pytest.mark.timeout(1200)]

COMPILER = re.compile(r"(.*-)?(gcc|g\+\+|cc|c\+\+|cpp|clang|tcc|as|ld|make|rustc|cargo|pip)(-?[\d.]+)?")
SITE = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader=yaml.BaseLoader)  # it has a tag of MkDocs' own
START = ("run", "--listen", "127.0.0.1:12345", "--agent", "127.0.0.1:9000")  # in a network of its own: no port is anyone else's


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    need_root("build and run a container image")
    need("buildah")
    need("debootstrap")
    with built_image(tmp_path_factory.mktemp("image")) as image:
        yield image


def programs(image: Image) -> set[str]:
    places = [*dict(entry.split("=", 1) for entry in image.config["Env"])["PATH"].split(":"), "/usr/sbin", "/sbin"]
    return {file.name for place in places for file in (image.root / place.lstrip("/")).glob("*")}


def test_image_holds_python_and_the_guard_but_no_build_tools(image):
    found = programs(image)
    assert {"python3", "spoe-guard", "sleep"} <= found  # sleep: what Kubernetes does before it stops the guard
    assert not {name for name in found if COMPILER.fullmatch(name)}


def test_the_guard_in_it_is_compiled(image):
    with image.run("version") as container:
        text, _ = container.process.communicate(timeout=20)
    assert "build      compiled" in text.splitlines()


def test_it_says_what_it_is_and_where_it_is_from(image):
    prefix = "org.opencontainers.image."
    said = {name.removeprefix(prefix): value for name, value in image.config["Labels"].items() if name.startswith(prefix)}
    assert said == {
        "title": urls.NAME,
        "description": SITE["site_description"],
        "version": __version__,
        "revision": REVISION,
        "licenses": SITE["copyright"],
        "source": urls.REPOSITORY,
        "documentation": urls.SITE,
        "base.name": BASE,
    }


def test_its_sbom_names_every_python_package_with_its_version(image, tmp_path):
    storage = f"BUILDAH=buildah {' '.join(STORAGE)}"
    command = ["make", "--no-print-directory", "sbom", storage, f"IMAGE={image.tag}", f"INTO={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    sbom = json.loads((tmp_path / "spoe-guard.cdx.json").read_text())
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    named = {canonicalize_name(one["name"]): one["version"] for one in sbom["components"]}
    [packages] = image.root.glob("opt/spoe-guard/lib/python3*/site-packages")
    assert named == {canonicalize_name(one.name): one.version for one in distributions(path=[str(packages)])}
    assert named["spoe-guard"] == __version__


def test_pid_1_is_the_guard_unprivileged_on_a_read_only_root(image):
    with image.run(*START) as container:
        container.wait_for(container.healthcheck)
        status = Path(f"/proc/{container.first_process()}/status").read_text()
        assert re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE)
        assert re.search(r"^Uid:\s+10001\s+10001\s+10001\s+10001$", status, re.MULTILINE)
        assert b"spoe-guard" in Path(f"/proc/{container.first_process()}/cmdline").read_bytes()
        touched = container.enter("touch", "/tmp/written")
        assert "Read-only file system" in touched.stderr


def test_healthcheck_is_red_where_the_guard_does_not_answer(image):
    with image.run(*START, "--admin", "127.0.0.1:9465") as elsewhere:
        serves = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9465/healthz', timeout=2)"
        elsewhere.wait_for(lambda: elsewhere.run_as_user("python3", "-c", serves))
        assert elsewhere.healthcheck().returncode != 0


def test_sigterm_stops_pid_1_cleanly(image):
    with image.run(*START) as container:
        container.wait_for(container.healthcheck)
        assert container.stop(within_s=3) == 0, container.process.stdout.read()
