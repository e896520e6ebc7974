"""The project's addresses: wherever one stands it is the one that pyproject.toml gives."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from mkdocs.config.defaults import MkDocsConfig

from tests import urls
from tests.peers import ROOT
from tests.texts import texts

TEXTS = texts()
REPOSITORY = re.compile(r"https://github\.com/[\w-]+/[\w-]+")
CHART = yaml.safe_load((ROOT / "config/helm/spoe-guard/Chart.yaml").read_text())


def test_source_is_a_repository_of_github_and_the_rest_follows():
    assert REPOSITORY.fullmatch(urls.REPOSITORY)
    assert {
        "Source": urls.REPOSITORY,
        "Documentation": urls.SITE,
        "Changelog": f"{urls.PAGES}/CHANGELOG.md",
        "Issues": f"{urls.REPOSITORY}/issues",
        "Security": f"{urls.REPOSITORY}/security/policy",
    } == urls.URLS


def test_every_file_names_the_owner_that_pyproject_names():
    told = {path: urls.owned_by(urls.OWNER, text) for path, text in TEXTS.items()}
    assert [str(path) for path, text in told.items() if text != TEXTS[path]] == [], "run `make urls`"


def test_make_urls_reaches_every_place_that_names_the_owner():
    renamed = {path: urls.owned_by("Acme-1", text) for path, text in TEXTS.items()}
    assert [str(path) for path, text in renamed.items() if re.search(rf"\b{urls.OWNER}\b", text)] == []
    named = [path for path, text in renamed.items() if text != TEXTS[path]]
    assert {Path("pyproject.toml"), Path("SECURITY.md"), Path("Dockerfile"), Path("config/prometheus/rules.yml")} <= set(named)


@pytest.mark.parametrize(
    ("address", "owner"),
    [
        ("https://github.com/{}/spoe-guard/issues", "Acme-1"),
        ("oci://ghcr.io/{}/charts/spoe-guard", "acme-1"),
        ("ghcr.io/{}/spoe-guard:0.1.0", "acme-1"),
        ("https://{}.github.io/spoe-guard/", "acme-1"),
        ("gh attestation verify FILE --owner {}", "Acme-1"),
        ("https://github.com/{}/another", None),
        ("ghcr.io/{}/another:1", None),
    ],
)
def test_the_owner_changes_in_the_projects_own_addresses_alone(address, owner):
    assert urls.owned_by("Acme-1", address.format("a_b")) == address.format(owner or "a_b")


def test_every_absolute_link_to_a_file_of_the_project_leads_somewhere():
    found = {link for text in TEXTS.values() for link in re.findall(rf"{re.escape(urls.PAGES)}/([\w./-]*\w)", text)}
    assert found
    assert [link for link in found if not (ROOT / link).exists()] == []


def test_the_chart_says_where_it_is_from():
    assert CHART["home"] == urls.SITE
    assert CHART["sources"] == [urls.REPOSITORY]


def test_security_leads_to_where_a_vulnerability_is_reported():
    assert f"]({urls.REPOSITORY}/security/advisories/new)" in (ROOT / "SECURITY.md").read_text()


@pytest.fixture(scope="module")
def hook():
    """What MkDocs calls: .ci/site.py."""
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / ".ci/site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_site_gets_its_addresses_from_pyproject(hook):
    config = MkDocsConfig(config_file_path=str(ROOT / "mkdocs.yml"))
    hook.on_config(config)
    assert (config.site_url, config.repo_url) == (urls.SITE, urls.REPOSITORY)
    assert not re.search(r"^(site|repo)_url:", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)


def test_a_page_of_the_site_asks_nobody_how_many_stars_there_are(hook):
    """Material's script does, for an element that is the component ``source``."""
    page = '<a href="https://github.com/a/b" title="Go" class="md-source" data-md-component="source">b</a>'
    assert hook.on_post_page(page) == '<a href="https://github.com/a/b" title="Go" class="md-source">b</a>'
