"""`spoe-guard init` on the shipped files proposes, and writes, what the page of the product shows."""

import pytest

from spoe_guard.settings import load
from tests.products.machine import SHIPPED
from tests.products.page import Page
from tests.running import spoe_guard

ENGINES = {"coraza": "coraza.cfg", "crowdsec": "crowdsec.cfg"}
SETTINGS = "/etc/spoe-guard/spoe-guard.yaml"


@pytest.fixture(params=ENGINES)
def product(request):
    return request.param


@pytest.fixture
def haproxy(product, tmp_path):
    """HAProxy's folder, with the shipped files, whose paths are those of this test."""
    for path in (SHIPPED / product).iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace("/etc/haproxy/", f"{tmp_path}/"))
    return tmp_path


def init(product, haproxy, *more):
    files = ("--haproxy", str(haproxy / "haproxy.cfg"), "--spoe", str(haproxy / ENGINES[product]))
    done = spoe_guard("init", *files, "--output", str(haproxy / "spoe-guard.yaml"), *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.replace(f"{haproxy}/", "/etc/haproxy/")


def test_it_shows_the_changes_that_the_page_shows(product, haproxy):
    shown = init(product, haproxy)
    for path in ("/etc/haproxy/haproxy.cfg", f"/etc/haproxy/{ENGINES[product]}"):
        assert Page(product).block("diff", path).rstrip() in shown
    assert shown.count("\n@@ ") == 2
    assert not (haproxy / "spoe-guard.yaml").exists()


def test_the_settings_it_writes_mean_what_those_of_the_page_mean(product, haproxy):
    init(product, haproxy, "--write")
    written = load(haproxy / "spoe-guard.yaml").settings
    (haproxy / "page.yaml").write_text(Page(product).block("yaml", SETTINGS))
    assert written == load(haproxy / "page.yaml").settings


def test_a_page_goes_back_to_what_each_file_was(product, haproxy):
    before = {path.name: path.read_text() for path in haproxy.iterdir()}
    init(product, haproxy, "--write")
    for line in [command.line for command in Page(product).commands("go back") if command.line.startswith("mv ")]:
        _, source, target = line.replace("/etc/haproxy", str(haproxy)).split()
        (haproxy / source).rename(target)
    assert {name: (haproxy / name).read_text() for name in before} == before
