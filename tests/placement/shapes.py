"""Shapes of haproxy.cfg and spoe.conf that the field has, each with what `init` makes of it. The files are in shapes/."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spoe_guard.placement.commands import Proposal, propose
from spoe_guard.placement.findings import Request
from spoe_guard.placement.recognise import Recognised

FOLDER: Final = Path(__file__).parent / "shapes"
ALL: Final = ("2.2", "2.6", "3.0", "3.2")
ENVIRONMENT: Final = {"AGENT_HOST": "localhost"}


@dataclass(frozen=True)
class Shape:
    """``routes``: listen, agent and further settings of each, as the guard's file has them. ``diff``: the lines that change.

    ``left``: what is left alone. ``notes``: parts of lines that are to be among what is said, with single blanks. ``error``: why
    nothing is proposed. ``takes``: the HAProxys that take the files as they are. ``profile``: what is recognised.
    """

    name: str
    routes: tuple[tuple[str, str, dict[str, object]], ...] = ()
    diff: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    error: str = ""
    takes: tuple[str, ...] = ALL
    profile: str = ""
    haproxy: str = "haproxy.cfg"
    engine: str | None = None

    def request(self, version: tuple[int, int] | None = None) -> Request:
        return Request((Path(self.haproxy),), engine=self.engine, version=version)

    def copy(self, folder: Path) -> Path:
        """Copy the files to ``folder``; whoever wants to use them has to go there, for their paths are relative."""
        shutil.copytree(FOLDER / self.name, folder, dirs_exist_ok=True)
        return folder

    def proposal(self, version: tuple[int, int] | None = None) -> Proposal:
        """Return what `init` proposes in the current folder."""
        return propose(self.request(version), ENVIRONMENT, Path("spoe-guard.yaml"), None, as_recognised)


def as_recognised(recognised: Recognised) -> str:
    return recognised.profile or "none"


USUAL: Final = {"haproxy": {"timeout_processing": "1s", "timeout_hello": "3s", "set_on_error": "error"}}
LISTEN: Final = "127.0.0.1:12345"
SECOND: Final = "127.0.0.1:12346"

SHAPES: Final = (
    Shape(
        "coraza",
        routes=(
            (
                LISTEN,
                "127.0.0.1:9000",
                {"haproxy": {"timeout_processing": "5s", "timeout_hello": "2s", "set_on_error": "error"}, "health": "listen"},
            ),
        ),
        diff=(
            "-    server coraza 127.0.0.1:9000 check",
            "+    server coraza 127.0.0.1:12345 check",
            "-    timeout     processing      500ms",
            "+    timeout     processing      5s",
        ),
        profile="coraza",
    ),
    Shape(
        "crowdsec",
        routes=(
            (
                LISTEN,
                "unix:/var/lib/haproxy/run/crowdsec-spoa/spoa.sock",  # as HAProxy's chroot has it
                {"haproxy": {"timeout_processing": "5s", "timeout_hello": "200ms", "set_on_error": "error"}},
            ),
        ),
        diff=(
            "-    server spoa unix@/run/crowdsec-spoa/spoa.sock",
            "+    server spoa 127.0.0.1:12345",
            "-    timeout     processing      500ms",
            "+    timeout     processing      5s",
        ),
        notes=(
            "no rule looks at txn.crowdsec.error",
            "haproxy.cfg:32: the guard's user has to be allowed to connect to the Unix socket of server spoa",
        ),
        profile="crowdsec",
    ),
    Shape(
        "modsecurity",
        routes=(
            (
                SECOND,
                LISTEN,
                {"haproxy": {"timeout_processing": "1s", "timeout_hello": "100ms", "set_on_error": "error"}},
            ),
        ),
        diff=(
            "-    server modsec-spoa1 127.0.0.1:12345",
            "+    server modsec-spoa1 127.0.0.1:12346",
            "+    option set-on-error error",
        ),
        profile="modsecurity",
    ),
    Shape(
        "several-engines",
        routes=(
            (LISTEN, "127.0.0.1:9201", USUAL),
            (SECOND, "127.0.0.1:9202", USUAL),
        ),
        diff=(
            "-    server t1 127.0.0.1:9201",
            "-    server t2 127.0.0.1:9202",
            "+    server t1 127.0.0.1:12345",
            "+    server t2 127.0.0.1:12346",
            "+    option set-on-error error",
            "-    timeout processing 300ms",
            "+    timeout processing 1s",
        ),
        engine="tokens",
    ),
    Shape(
        "quoted",
        routes=(
            (LISTEN, "127.0.0.1:9301", USUAL),
            (SECOND, "127.0.0.1:9302", USUAL),
        ),
        diff=(
            "-    server 'first' \"127.0.0.1:9301\" weight 10 # as '127.0.0.1:9301'",
            "-    server\tsecond\t127.0.0.1\\x3a9302\tweight 20",
            "+    server 'first' 127.0.0.1:12345 weight 10 # as '127.0.0.1:9301'",
            "+    server\tsecond\t127.0.0.1:12346\tweight 20",
            "-    timeout processing '250ms'   # timeout processing 9s",
            "+    timeout processing 1s   # timeout processing 9s",
        ),
    ),
    Shape(
        "defaults",
        routes=(
            (LISTEN, "127.0.0.1:9401", USUAL),
            (SECOND, "127.0.0.1:9402", USUAL),
        ),
        diff=(
            "-    server a 127.0.0.1:9401",
            "-    server b 127.0.0.1:9402 no-check",
            "+    server a 127.0.0.1:12345",
            "+    server b 127.0.0.1:12346 no-check",
        ),
        notes=(
            "mode tcp haproxy.cfg:6",
            "balance leastconn haproxy.cfg:13",
            "health checks spop-check haproxy.cfg:14",
            "server a 127.0.0.1:9401 check maxconn 80 inter 3s haproxy.cfg:35",
        ),
        takes=("2.6", "3.0", "3.2"),  # 2.2 has no `from`
    ),
    Shape(
        "template",
        error=(
            "no server of backend check-agents can be guarded: haproxy.cfg:26: server-template agent: it makes several servers "
            "of one name, which no routes can follow; write a server line for each agent"
        ),
    ),
    Shape(
        "unix-sockets",
        routes=(
            (LISTEN, "unix:/run/agents/a.sock", USUAL),
            (SECOND, "unix:/run/agents/b.sock", USUAL),
        ),
        diff=(
            "-    server a unix@/run/agents/a.sock",
            "-    server b /run/agents/b.sock",
            "+    server a 127.0.0.1:12345",
            "+    server b 127.0.0.1:12346",
        ),
        left=("haproxy.cfg:24: server c: the guard dials TCP and Unix sockets alone",),
    ),
    Shape(
        "checked",
        routes=(
            (LISTEN, "127.0.0.1:9601", USUAL),
            ("127.0.0.1:12347", "127.0.0.1:9602", USUAL),  # HAProxy listens on 12346
            ("127.0.0.1:12348", "10.0.0.9:9600", USUAL),
        ),
        diff=(
            "-    server a 127.0.0.1:9601 check inter 2s maxconn 100",
            "-    server b 127.0.0.1:9602 check inter 2s maxconn 100",
            "-    server c 10.0.0.9:9600 check backup",
            "+    server a 127.0.0.1:12345 check inter 2s maxconn 100",
            "+    server b 127.0.0.1:12347 check inter 2s maxconn 100",
            "+    server c 127.0.0.1:12348 check backup",
        ),
    ),
    Shape(
        "mode-spop",
        routes=((LISTEN, "[::1]:9701", {"haproxy": {"timeout_processing": "1s", "set_on_error": "error"}}),),
        diff=(
            "-    server a [::1]:9701 check",
            "+    server a 127.0.0.1:12345 check",
            "-    timeout processing 400ms",
            "+    timeout processing 1s",
        ),
        takes=("3.2",),
    ),
    Shape(
        "group-only",
        routes=(
            (
                SECOND,
                "192.0.2.7:12345",
                {"haproxy": {"timeout_processing": "1s", "timeout_hello": "3s", "set_on_error": "failed"}},
            ),
        ),
        diff=(
            "-    server m 192.0.2.7:12345",
            "+    server m 127.0.0.1:12346",
            "-    timeout hello 500ms",
            "+    timeout hello 3s",
            "-    timeout processing 5ms",
            "+    timeout processing 1s",
        ),
        notes=("not recognised", "perhaps, by port 12345, as ModSecurity has it"),
    ),
    Shape(
        "resolvers",
        routes=((LISTEN, "agent-a.invalid:9801", USUAL),),
        diff=(
            "-    server a agent-a.invalid:9801 check resolve-prefer ipv4",
            "+    server a 127.0.0.1:12345 check resolve-prefer ipv4",
        ),
        notes=("haproxy.cfg:27: `resolvers cluster`: the guard looks names up itself",),
    ),
    Shape(
        "variables",
        routes=(
            (LISTEN, "localhost:9901", USUAL),
            (SECOND, "localhost:9902", USUAL),
        ),
        diff=(
            '-    server a "${AGENT_HOST}:${AGENT_PORT}" weight 10',
            "-    server b $AGENT_HOST:9902",
            "+    server a 127.0.0.1:12345 weight 10",
            "+    server b 127.0.0.1:12346",
        ),
        left=("haproxy.cfg:26: server c: NOWHERE is not set in this environment; set it as HAProxy's service has it",),
        notes=("haproxy.cfg:24: AGENT_HOST is 'localhost' in this environment; HAProxy's service has to have the same",),
    ),
    Shape(
        "conditions",
        routes=((LISTEN, "127.0.0.1:9011", {"haproxy": {"timeout_hello": "3s", "set_on_error": "error"}}),),
        diff=(
            "-    server a 127.0.0.1:9011",
            "+    server a 127.0.0.1:12345",
            "+    option set-on-error error",
        ),
        left=(
            "haproxy.cfg:31: server b: it depends on the `.if` at haproxy.cfg:30, which is not evaluated",
            "spoe.conf:10: `timeout processing`: left as it is: depends on the `.if` at spoe.conf:7",
        ),
        notes=(
            "haproxy.cfg:4: `.if` is not evaluated; what depends on it is not used",
            "mode depends on the `.if` at haproxy.cfg:24",
            "tune.bufsize depends on the `.if` at haproxy.cfg:4",
            "routes[0].haproxy.timeout_processing: not compared with `timeout processing`",
        ),
        takes=("2.6", "3.0", "3.2"),  # 2.2 has no `.if`
    ),
    Shape(
        "tls",
        routes=(
            (LISTEN, "127.0.0.1:9022", USUAL | {"proxy_protocol": "accept", "health": "listen"}),
            (SECOND, "127.0.0.1:9024", USUAL),
        ),
        diff=(
            "-    server b 127.0.0.1:9022 send-proxy-v2 check",
            "+    server b 127.0.0.1:12345 send-proxy-v2 check",
            "-    server d 127.0.0.1:9024 cookie ssl",
            "+    server d 127.0.0.1:12346 cookie ssl",
        ),
        left=(
            "haproxy.cfg:22: server a: `ssl` (haproxy.cfg:22): HAProxy speaks TLS to this agent, and the guard speaks none",
            (
                "haproxy.cfg:24: server c: `socks4 127.0.0.1:1080` (haproxy.cfg:24): HAProxy reaches this agent through a SOCKS "
                "proxy, by which it would not reach the guard"
            ),
        ),
        notes=("haproxy.cfg:23: `send-proxy-v2`: the guard takes the PROXY header off",),
    ),
    Shape(
        "folder",
        routes=((LISTEN, "127.0.0.1:9031", USUAL),),
        diff=("-    server a 127.0.0.1:9031", "+    server a 127.0.0.1:12345"),
        notes=("--- conf.d/40-agents.cfg",),
        haproxy="conf.d",
    ),
    Shape(
        "default-path",
        routes=((LISTEN, "127.0.0.1:9041", USUAL),),
        diff=("-    server a 127.0.0.1:9041", "+    server a 127.0.0.1:12345"),
        notes=("agent check-agent etc/check.conf:2",),
        haproxy="etc/haproxy.cfg",
        takes=("2.6", "3.0", "3.2"),  # 2.2 has no `default-path`
    ),
    Shape(
        "nameless",
        routes=((LISTEN, "localhost:9051", USUAL),),
        diff=(
            "-    server a localhost:9051",
            "+    server a 127.0.0.1:12345",
            "+    option set-on-error error",
            "+    timeout processing 1s",
        ),
        notes=("verdicts, the agent's own name",),
    ),
    Shape(
        "messages",
        routes=((LISTEN, "127.0.0.1:9061", USUAL),),
        diff=("-    server a 127.0.0.1:9061 check port 9062", "+    server a 127.0.0.1:12345 check port 9062"),
        notes=("routes[0].health: server a (haproxy.cfg:25) is checked elsewhere (`port 9062`)",),
        takes=("2.6", "3.0", "3.2"),  # 2.2 has no `.notice`
    ),
    Shape(
        "auth",
        routes=(
            (LISTEN, "127.0.0.1:8081", {"haproxy": {"timeout_processing": "1s", "timeout_hello": "2s", "set_on_error": "error"}}),
        ),
        diff=(
            "-    server spoe 127.0.0.1:8081 check",
            "+    server spoe 127.0.0.1:12345 check",
            "+    option set-on-error error",
        ),
        profile="spoe-auth",
    ),
    Shape(
        "crlf",
        routes=((LISTEN, "127.0.0.1:9071", USUAL),),
        diff=(
            "-\tserver a 127.0.0.1:9071\r",
            "+\tserver a 127.0.0.1:12345\r",
            "+\ttimeout processing 1s\r",
            "+\toption set-on-error error\r",
        ),
    ),
    Shape(
        "large-frames",
        routes=((LISTEN, "127.0.0.1:9081", USUAL | {"limits": {"held_bytes": 4194304}}),),
        diff=("-    server a 127.0.0.1:9081", "+    server a 127.0.0.1:12345"),
    ),
)
