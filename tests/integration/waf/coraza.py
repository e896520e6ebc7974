"""HAProxy as the documentation of coraza-spoa sets it up, its own words written anew, and what it logs of each request."""

import re
from dataclasses import dataclass
from typing import Final

from tests.integration.haproxy import Haproxy

MAIN: Final = """\
global
    nbthread 1
    {tune}
    stats socket {folder}/stats.sock mode 600 level admin
    log stderr len 4096 format raw local0
defaults
    log global
    timeout client 10s
    timeout server 10s
    timeout connect 10s
    timeout check 2s
    retries 0
frontend shop
    mode http
    bind fd@{web_fd}
    log-format "request %HU %ST action=%[var(txn.coraza.action)] error=%[var(txn.coraza.error)]"
    unique-id-format %[uuid()]
    http-request return status 200 if {{ path /ready }}
    http-request set-var(txn.coraza.app) str(shop)
    filter spoe engine coraza config {folder}/spoe.conf
    http-request send-spoe-group coraza coraza-req
    http-request deny deny_status 403 if {{ var(txn.coraza.action) -m str deny }}
    http-request deny deny_status 500 if {{ var(txn.coraza.error) -m int gt 0 }}
    http-request return status 200 content-type text/plain string "for sale"
backend agents
    mode {mode}
    {check}
    server agent {agent} {server}
"""
SPOE: Final = """\
[coraza]
spoe-agent coraza-agent
    groups coraza-req
    option var-prefix coraza
    option set-on-error error
    {options}
    timeout hello 2s
    timeout idle {idle}
    timeout processing {processing}
    use-backend agents
    log global
spoe-message coraza-req
    args app=var(txn.coraza.app) id=unique-id src-ip=src src-port=src_port dst-ip=dst dst-port=dst_port method=method path=path \
query=query version=req.ver headers=req.hdrs body=req.body
spoe-group coraza-req
    messages coraza-req
"""
_LOGGED: Final = re.compile(r"^request (\S+) (\d+) action=(\S+) error=(\S+)$", re.MULTILINE)
NOT_SET: Final = "-"  # how HAProxy logs a variable that is not set


@dataclass(frozen=True)
class Logged:
    """One request in HAProxy's log. ``action``, ``error``: the variables; "" where they were not set."""

    status: int
    action: str
    error: str

    @property
    def unchecked(self) -> bool:
        """Whether the rules had nothing to go by: the request went on although nobody checked it."""
        return not self.action and not self.error


class Coraza(Haproxy):
    """The process; its rules deny what the WAF says, and what HAProxy says of an error."""

    main, spoe = MAIN, SPOE

    def logged(self) -> dict[str, Logged]:
        """Return what was logged of each request so far, by path and query."""
        lines = _LOGGED.findall(self.log())
        return {
            path: Logged(int(status), *("" if text == NOT_SET else text for text in (action, error)))
            for path, status, action, error in lines
            if path != "/ready"
        }
