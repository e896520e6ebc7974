"""Writes the pages of docs/ that are generated from a table in the code: ``python -m tests.docs`` (``make docs``)."""

import json
from itertools import groupby

from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly, Row
from spoe_guard.core.terms.family import Family
from spoe_guard.settings.problems import dotted
from spoe_guard.settings.products import PRODUCTS, Product, Release, settings
from tests import reference
from tests.deploy import values
from tests.peers import ROOT

ANOMALIES = ROOT / "docs/anomalies.md"
CHART = ROOT / "docs/chart.md"
RELEASES = ROOT / "docs/agents/releases.md"
LONGEST = 60  # a default that a cell of a table has room for

INTRO = """\
# The anomaly catalogue

What spoe-guard calls each departure from SPOP, what it does about it, and what else may be chosen under `policy:` of a route.
The names are label values of `spoe_guard_anomalies_total` and keys of `policy`. This page is written from the table in
`spoe_guard/core/terms/anomalies.py` by `make docs`.

| action | what the guard does |
|---|---|
| pass | sends it on as it came |
| drop | sends nothing of it on |
| reorder | holds it, or lets it overtake, so that it arrives where it is of use |
| repair | sends it as it was meant, only where that is certain |
| answer | writes a frame of its own in the place of one that is missing |
| close | ends the session the clean way: open NOTIFYs are given up, AGENT-DISCONNECT, close |

Where a repair is not certain the guard closes instead, and the anomaly is counted with the action `close`. A frame that no NOTIFY
asked for never passes with a stream-id that HAProxy from 3.1 on cannot have: where `policy` says `pass` it is dropped, and
counted so.

"It costs" says what is lost where HAProxy gets it as the agent sent it, without the guard or in `mode: observe`: an answer, or
all of HAProxy, whose process then ends, or one of whose connections stands still for good.

| anomaly | what it is | it costs | default | may be | evidence |
|---|---|---|---|---|---|
"""

FAMILIES = {Family.APPLET: "HAProxy up to 3.0", Family.MUX: "HAProxy from 3.1 on"}

CHART_INTRO = """\
# The values of the Helm chart

What `helm install --values` takes. [In Kubernetes](kubernetes.md) says how to install the chart, and when another way is better.
A value that is not listed, or that cannot be, is refused: `values.schema.json`. This page is written from
[values.yaml](../config/helm/spoe-guard/values.yaml) by `make docs`.

| value | default | what it is |
|---|---|---|
"""


def chart() -> str:
    """Return docs/chart.md."""
    rows = (f"| `{each.key}` | {_default(each.default)} | {each.text} |\n" for each in values.documented())
    return CHART_INTRO + "".join(rows)


def _default(value: object) -> str:
    text = json.dumps(value)
    return f"`{text}`" if len(text) <= LONGEST else "see the file"


def anomalies() -> str:
    """Return docs/anomalies.md."""
    return INTRO + "".join(_row(anomaly, row) for anomaly, row in CATALOGUE.items())


def _row(anomaly: Anomaly, row: Row) -> str:
    default = row.default.value
    if row.haproxy_default is not row.default:
        default += f"; from HAProxy: {row.haproxy_default.value}"
    if row.applet_default is not row.default:
        default += f"; to HAProxy up to 3.0: {row.applet_default.value}"
    others = ", ".join(action.value for action in Action if action in row.allowed - {row.default}) or "-"
    return f"| `{anomaly.value}` | {row.sentence} | {_cost(row)} | {default} | {others} | {row.evidence} |\n"


def _cost(row: Row) -> str:
    if row.ends:
        return f"**{', '.join(text for family, text in FAMILIES.items() if family in row.ends)}**"
    return "an answer" if row.costs_answer else "-"


RELEASES_INTRO = """\
# Which release is built on which library

An agent speaks SPOP as its library does, so its library says what it needs of the guard. `profile:` of a route names the agent,
alone for its newest release, or with one: `profile: coraza@0.5`. A release may be cut short: `coraza@0.7` is the newest of 0.7.

This page is written from the table in `spoe_guard/settings/products.py` by `make docs`. The libraries of Coraza, CrowdSec and
spoe-auth were read from `go.mod` at every tag of their repositories, up to the newest one named here; the release candidates of
CrowdSec's have the library of the release they lead to. ModSecurity's agent is in C, on no library, and has no releases.
`timeout hello` is what the `spoe.conf` that comes with the release says, or its documentation.

"""

RELEASES_TABLE = """\
| `profile` | releases | library | `timeout hello` |
|---|---|---|---|
"""

SETTINGS_INTRO = """
## What a profile sets

Ordinary settings of the route. What you write yourself comes before the profile's, `null` too, and `spoe-guard check` shows for
each value where it is from: `profile coraza@0.7`, or what the profile named, such as `profile dropmore` or
`haproxy.set_on_error`. What `hello.profile` sets for a library is in [Agents that need more](../profiles.md), what follows from
`haproxy` in [When there is no answer](../haproxy.md#when-there-is-no-answer).

No profile says `haproxy.timeout_processing`: only you know what your `spoe.conf` has, and a value that is too low would have the
guard give up before HAProxy does. No profile sets `unanswered: empty-ack`, which fails open.

From HAProxy 3.1 on `timeout hello` means nothing. If your agent needs longer for its HELLO than the value above, write
`haproxy: {timeout_hello: null}` there.

"""

SETTINGS_TABLE = """\
| `profile` | settings |
|---|---|
"""


def releases() -> str:
    """Return docs/agents/releases.md."""
    agents = "".join(f"- `{name}`: {product.what}\n" for name, product in PRODUCTS.items())
    built_on, sets = "", ""
    for name, product in PRODUCTS.items():
        for _, same in groupby(product.releases, lambda release: release[1:]):  # all but the version
            built_on += _releases_row(name, list(same))
        newest = {tuple(settings(product, release)): release for release in product.releases}  # of those with the same settings
        sets += "".join(_settings_row(name, product, release) for release in newest.values())
    return f"{RELEASES_INTRO}{agents}\n{RELEASES_TABLE}{built_on}{SETTINGS_INTRO}{SETTINGS_TABLE}{sets}"


def _releases_row(name: str, same: list[Release]) -> str:
    versions = ", ".join(release.version for release in same) or "-"
    first = same[0]
    library = f"{first.library} {first.library_version}".strip()
    return f"| `{name}` | {versions} | {library} | {first.timeout_hello} |\n"


def _settings_row(name: str, product: Product, release: Release) -> str:
    newest = release == product.releases[-1]
    profile = f"`{name}`" if newest else f"`{name}@{release.version}`"
    sets = ", ".join(f"`{dotted(key)}: {value}`" for key, value in settings(product, release))
    return f"| {profile} | {sets} |\n"


if __name__ == "__main__":
    ANOMALIES.write_text(anomalies())
    CHART.write_text(chart())
    reference.PAGE.parent.mkdir(exist_ok=True)
    reference.PAGE.write_text(reference.page())
    reference.MAN.write_text(reference.man())
    RELEASES.write_text(releases())
