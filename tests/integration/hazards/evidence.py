"""A row's evidence as links for docs/hazards.md: to the entries of docs/evidence, and to HAProxy's issues and commits."""

import re
from typing import Final

REPOSITORIES: Final = {"haproxy": "haproxy/haproxy", "coraza-spoa": "corazawaf/coraza-spoa"}
CITED: Final = re.compile(
    r"\b(?P<entry>[A-H][0-9]+|HELLO)\b"
    r"|\bagents (?P<paragraph>[0-9](?:\.[0-9])?)"
    rf"|\b(?P<repository>{'|'.join(REPOSITORIES)}) (?:#(?P<issue>[0-9]+)|(?P<commit>[0-9a-f]{{7,40}}))\b"
)


def linked(evidence: str) -> str:
    """Return it with a link for each entry, paragraph, issue and commit it names."""
    return CITED.sub(_link, evidence)


def _link(cited: re.Match[str]) -> str:
    if entry := cited["entry"]:
        where = f"evidence/haproxy.md#{entry.lower()}"
    elif paragraph := cited["paragraph"]:
        where = f"evidence/agents.md#{paragraph.replace('.', '-')}"
    else:
        what = f"issues/{cited['issue']}" if cited["issue"] else f"commit/{cited['commit']}"
        where = f"https://github.com/{REPOSITORIES[cited['repository']]}/{what}"
    return f"[{cited[0]}]({where})"
