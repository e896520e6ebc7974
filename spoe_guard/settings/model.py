"""Every key of the settings, with its default, unit and allowed values. This is the only place that defines them."""

import re
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, PlainSerializer, create_model, model_validator

from spoe_guard import address
from spoe_guard.core.terms import anomalies
from spoe_guard.core.terms.config import KNOWN_CAPABILITIES, OFFERABLE
from spoe_guard.options import DEFAULT_PAYLOAD, Balance, LogFormat, LogLevel, Payload
from spoe_guard.settings import products, units
from spoe_guard.settings.profiles import PROFILES
from spoe_guard.wire.frame import MIN_MAX_FRAME_SIZE

MAX_UINT32: Final = 2**32 - 1  # max-frame-size is a uint32 on the wire
MAX_AGENTS: Final = 16  # they share timeouts.connect
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
_NAME_IS: Final = "1 to 64 letters, digits or one of _ . : -"
UNANSWERED: Final = ("tell", "empty-ack", "leave")  # and {set: NAME}
_MODE = re.compile(r"0?[0-7]{3}")
_OWNER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}\$?", re.ASCII)
_MAX_ID: Final = 2**32 - 2  # chown(2) takes 2^32 - 1 as "leave it"
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,16}", re.ASCII)
_ENGINE_ID = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_SET = re.compile(r"\{set: (.*)\}")  # as ``Unanswered`` is written


def _address(value: object) -> address.Address:
    if not isinstance(value, str):  # a ValueError, because pydantic reports no TypeError
        raise ValueError("expected HOST:PORT, [v6]:PORT or unix:/path")  # noqa: TRY004
    return address.parse(value)


def _peer(value: object) -> address.Address:
    parsed = _address(value)
    if parsed.path is None and parsed.port == 0:
        raise ValueError("port 0 cannot be dialled")
    return parsed


def _control(value: object) -> address.Address:
    parsed = _address(value)
    if parsed.path is None:
        raise ValueError("expected unix:/path: only of a file can be said who may change a running guard")
    return parsed


def _switch(value: object) -> bool:
    if not isinstance(value, bool) and value not in ("true", "false"):
        raise ValueError("expected true or false")
    return value is True or value == "true"


def _agents(value: object) -> tuple[address.Address, ...]:
    """Accept one address, several separated by commas, or a list (needed for a Unix socket's path with a comma)."""
    parts = value if isinstance(value, list) else value.split(",") if isinstance(value, str) else [value]
    if not 1 <= len(parts) <= MAX_AGENTS:
        raise ValueError(f"expected 1 to {MAX_AGENTS} addresses")
    parsed = tuple(_peer(part.strip() if isinstance(part, str) else part) for part in parts)
    if len(set(parsed)) < len(parsed):
        raise ValueError("expected each address once")
    return parsed


def _as_written(agents: tuple[address.Address, ...]) -> str | list[str]:
    return str(agents[0]) if len(agents) == 1 else [str(agent) for agent in agents]


class Unanswered(NamedTuple):
    """What HAProxy gets for a NOTIFY no agent will answer. ``name``: the variable, where ``kind`` is ``set``."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{{set: {self.name}}}" if self.name else self.kind


def _unanswered(value: object) -> Unanswered:
    """Accept what a file says, and the text that ``str`` makes of it: a worker is told its settings as they are written."""
    names = list(value.values()) if isinstance(value, dict) and list(value) == ["set"] else []
    if isinstance(value, str) and (written := _SET.fullmatch(value)):
        names = [written[1]]
    if names:
        return Unanswered("set", units.variable(names[0]))
    if isinstance(value, str) and value in UNANSWERED:
        return Unanswered(value)
    raise ValueError(f"expected {{set: NAME}}, {', '.join(UNANSWERED[:-1])} or {UNANSWERED[-1]}")


def _mode(value: object) -> str:
    """Accept octal digits as text only: a YAML reader may have taken 0660 for the decimal 432, or for 660."""
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise ValueError('expected three octal digits in quotes, such as "0660"')
    return value.rjust(4, "0")


def _name_or_id(value: object) -> str | int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(_MAX_ID)):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_ID:
        return value
    if isinstance(value, str) and _OWNER.fullmatch(value):
        return value
    raise ValueError("expected a name, or a number from 0 to 4294967294")


def _no_product(value: object) -> object:
    if isinstance(value, str) and value.partition("@")[0] in products.PRODUCTS:
        raise ValueError(f"expected a library; {value} is a product: write it as the route's `profile`, not below `hello`")
    return value


def _matching(pattern: re.Pattern[str], form: str) -> BeforeValidator:
    def check(value: object) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"expected {form}")
        return value

    return BeforeValidator(check)


def _folder(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError("expected an absolute path")
    return value


def _number(low: int, high: int) -> BeforeValidator:
    def check(value: object) -> int:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:  # noqa: PLR2004 as 64 bits hold
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return value

    return BeforeValidator(check)


def _size(low: int, high: int) -> BeforeValidator:
    def check(value: object) -> int:
        parsed = units.size(value)
        if not low <= parsed <= high:
            raise ValueError(f"expected {low} to {high} bytes")
        return parsed

    return BeforeValidator(check)


def _some_of(known: frozenset[str]) -> BeforeValidator:
    """Accept a list, or HAProxy's form: names separated by commas, optionally in brackets, which allow an empty list."""

    def check(value: object) -> tuple[str, ...]:
        bare = value.removeprefix("[").removesuffix("]") if isinstance(value, str) else ""
        names = [name.strip() for name in bare.split(",") if name.strip()] if isinstance(value, str) else value
        if not isinstance(names, list | tuple) or not set(map(str, names)) <= known:
            raise ValueError(f"expected a list of some, or none, of {', '.join(sorted(known))}")
        return tuple(dict.fromkeys(names))

    return BeforeValidator(check)


def _in_order(value: object) -> object:
    """Turn the merged layers' mapping from index to route into the list of routes."""
    if not isinstance(value, dict) or not all(str(key).isdigit() for key in value):
        if isinstance(value, list):
            return value
        raise ValueError("expected a list of routes, each with its listen and agent")
    if not value:
        raise ValueError("expected at least one route")
    by_index = {int(key): route for key, route in value.items()}
    missing = next((index for index in range(max(by_index)) if index not in by_index), None)
    if missing is not None:
        raise ValueError(f"routes[{missing}] is missing: they are numbered from 0 without a gap")
    return [by_index[index] for index in range(len(by_index))]


_in_words = PlainSerializer(units.duration_text)
Duration = Annotated[float, BeforeValidator(units.duration), _in_words]
Timeout = Annotated[float, BeforeValidator(units.timeout), _in_words]
ControlAddress = Annotated[InstanceOf[address.Address], BeforeValidator(_control), PlainSerializer(str)]
ListenAddress = Annotated[InstanceOf[address.Address], BeforeValidator(_address), PlainSerializer(str)]
AgentAddresses = Annotated[tuple[InstanceOf[address.Address], ...], BeforeValidator(_agents), PlainSerializer(_as_written)]
Switch = Annotated[bool, BeforeValidator(_switch)]


Mode = Literal["enforce", "observe"]


class Section(BaseModel):
    """A group of keys. A section left empty in the file has its defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_default(cls, value: object) -> object:
        return {} if value is None else value


class Hello(Section):
    """The limits of the negotiation between HAProxy and this agent."""

    # generated from the table, so that there is one list
    profile: Annotated[Literal[tuple(PROFILES)], BeforeValidator(_no_product)] = "none"  # type: ignore[valid-type]
    max_frame_size: Annotated[int, _size(MIN_MAX_FRAME_SIZE, MAX_UINT32)] | None = None
    capabilities: Annotated[tuple[str, ...], _some_of(KNOWN_CAPABILITIES)] = ("pipelining",)
    always_offer: Annotated[tuple[str, ...], _some_of(OFFERABLE)] = ()
    engine_id: Annotated[str, _matching(_ENGINE_ID, "1 to 128 printable ASCII characters without a blank")] | None = None
    keys: Literal["as-is", "exact"] = "as-is"


class HAProxy(Section):
    """What spoe.conf says of this agent; null: not known. Other settings follow from it, see ``derived``.

    ``timeout_processing``, ``timeout_hello``: its timeouts, in seconds. ``set_on_error``: the name in `option set-on-error`.
    """

    timeout_processing: Timeout | None = None
    timeout_hello: Timeout | None = None
    set_on_error: Annotated[str, BeforeValidator(units.variable)] | None = None


class Socket(Section):
    """Mode, owner and group of the Unix socket that ``listen`` names; null: as the kernel makes it."""

    mode: Annotated[str, BeforeValidator(_mode)] | None = None
    owner: Annotated[str | int, BeforeValidator(_name_or_id)] | None = None
    group: Annotated[str | int, BeforeValidator(_name_or_id)] | None = None


class Timeouts(Section):
    """The guard's timeouts, in seconds. ``hello`` None: 2 s for HAProxy's, and for the agent's as long as HAProxy waits."""

    connect: Timeout = 1.0
    hello: Timeout | None = None
    frame: Timeout = 2.0
    idle: Timeout = 600.0
    close: Timeout = 1.0


def _glitches(value: object) -> units.Rate:
    try:
        return units.rate(value)
    except ValueError:
        raise ValueError("expected a whole number of anomalies per s, m or h, 1 or more, such as 1000/m") from None


class Limits(Section):
    """Bounds: connections per route, the others per connection of HAProxy. ``glitches``: anomalies of one side."""

    connections: Annotated[int, _number(1, 1_000_000)] = 4096
    open_notifies: Annotated[int, _number(1, 16_777_216)] = 65536
    held_bytes: Annotated[int, _size(1, MAX_UINT32)] = 1048576
    glitches: Annotated[units.Rate, BeforeValidator(_glitches), PlainSerializer(str)] = units.Rate(1000, 60.0)


class ProcessLimits(Section):
    """Bounds of all routes together. ``total_bytes``: several workers divide it evenly; null: see ``memory.total_bytes``."""

    total_bytes: Annotated[int, _size(MIN_MAX_FRAME_SIZE, 1 << 40)] | None = None


class Links(Section):
    """Agent links per session. ``in_flight`` 0: any number of NOTIFYs. ``give_up`` 0: sessions end with their agent link.

    ``park``: how long after HAProxy sent it a NOTIFY may wait for a link; None: ``give_up`` from when it was parked.
    """

    max: Annotated[int, _number(1, 1_000_000)] = 1
    in_flight: Annotated[int, _number(0, 1_000_000)] = 0
    retire: Timeout | None = None
    park: Timeout | None = None
    give_up: Duration = 5.0


_ONE_KEY_PER_ANOMALY: Final[dict[str, Any]] = {
    anomaly.value: (Literal[tuple(action.value for action in anomalies.Action if action in row.allowed)] | None, None)
    for anomaly, row in anomalies.CATALOGUE.items()
}
Policy: type[Section] = create_model("Policy", __base__=Section, **_ONE_KEY_PER_ANOMALY)


class Route(Section):
    """One listening address and the agent behind it. ``profile``: which one that is, see ``products``; null: not said.

    ``mode`` None: that of all routes, see ``Settings.mode_of``.
    """

    name: Annotated[str, _matching(_NAME, _NAME_IS)] = "default"
    listen: ListenAddress = address.Address("127.0.0.1", 12345)
    agent: AgentAddresses = (address.Address("127.0.0.1", 9000),)
    balance: Balance = "first"
    profile: Annotated[str, BeforeValidator(products.named)] | None = None
    mode: Mode | None = None
    haproxy: HAProxy = HAProxy()
    socket: Socket = Socket()
    hello: Hello = Hello()
    disconnect_hold: Duration = 0.5
    unanswered: Annotated[InstanceOf[Unanswered], BeforeValidator(_unanswered), PlainSerializer(str)] = Unanswered("tell")
    answer_deadline: Timeout | None = None
    health: Literal["check", "listen"] = "check"
    proxy_protocol: Literal["refuse", "accept"] = "refuse"
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    links: Links = Links()
    redispatch: Literal["off", "unsent", "unanswered"] = "unsent"
    policy: Policy = Policy()  # type: ignore[valid-type]  # generated from the catalogue, so that there is one list of anomalies

    def choices(self) -> dict[anomalies.Anomaly, anomalies.Action]:
        """Return the chosen actions that differ from the catalogue's, in the form ``core.policy.Policy`` takes."""
        chosen: dict[str, str] = self.policy.model_dump(exclude_none=True)  # type: ignore[attr-defined]
        return {anomalies.Anomaly(name): anomalies.Action(action) for name, action in chosen.items()}


def _hosts(value: object) -> tuple[str, ...]:
    """Accept a list of host names, or one text with commas, optionally in brackets."""
    texts = value.strip().removeprefix("[").removesuffix("]").split(",") if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("expected names, as in [guard.example]")
    names = tuple(dict.fromkeys(name for text in texts if (name := text.strip().lower().removesuffix("."))))
    for name in names:
        if not _HOST.fullmatch(name):
            raise ValueError(f"{name!a}: expected a host name without scheme and port, as in guard.example")
    return names


class Admin(Section):
    """The address of the live page, metrics and health; null: none.

    ``name``: what page and status document call this guard; null: as its host.
    ``hosts``: names by which it may be asked beside IP addresses, localhost and the name in ``listen``.
    ``payload``: how much page and status document show of what the peers wrote, see ``Settings``.
    ``control``: the Unix socket that `spoe-guard ctl` asks; null: none.
    """

    listen: ListenAddress | None = address.Address("127.0.0.1", 9464)
    name: Annotated[str, _matching(_NAME, _NAME_IS)] | None = None
    control: ControlAddress | None = None
    hosts: Annotated[tuple[str, ...], BeforeValidator(_hosts)] = ()
    payload: Payload = DEFAULT_PAYLOAD


class Log(Section):
    """The log on standard output. ``rate`` applies per route. ``payload``: see ``Settings``.

    ``unique_id``: the argument of NOTIFYs whose value is in the lines about them, None for none.
    """

    format: LogFormat = "json"
    level: LogLevel = "info"
    payload: Payload = DEFAULT_PAYLOAD
    rate: Annotated[units.Rate, BeforeValidator(units.rate), PlainSerializer(str)] = units.Rate(60, 60.0)
    unique_id: Annotated[str, BeforeValidator(units.argument)] | None = None


class Capture(Section):
    """The flight recorder. ``rate`` applies per route and anomaly, ``session_bytes`` per direction of a session.

    ``payload``: how much of the sessions the files hold, see ``Settings``.
    """

    dir: Annotated[str, BeforeValidator(_folder)] | None = None
    severity: Literal[anomalies.SEVERITIES] = "warning"  # type: ignore[valid-type]  # one list again
    payload: Payload = DEFAULT_PAYLOAD
    rate: Annotated[units.Rate, BeforeValidator(units.rate), PlainSerializer(str)] = units.Rate(6, 60.0)
    session_bytes: Annotated[int, _size(1024, 16 * 1024 * 1024)] = 16 * 1024
    total_bytes: Annotated[int, _size(64 * 1024, MAX_UINT32)] = 64 * 1024 * 1024
    files: Annotated[int, _number(1, 100_000)] = 100
    files_bytes: Annotated[int, _size(1024 * 1024, 1 << 40)] = 256 * 1024 * 1024


class Settings(BaseModel):
    """All settings, in the units of the core: seconds and bytes. ``load`` creates them.

    ``handover_dir``: where guards find each other; None: as ``run.handover_place`` finds it. ``payload``: how much is shown of
    what the peers wrote, where a section does not say otherwise (``derived.add_payload``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode = "enforce"
    on_internal_error: Literal["close", "splice"] = "close"
    workers: Annotated[int, _number(0, 1024)] = 1
    share_listen: Switch = False
    handover_dir: Annotated[str, BeforeValidator(_folder)] | None = None
    payload: Payload = DEFAULT_PAYLOAD
    routes: Annotated[list[Route], BeforeValidator(_in_order), Field(min_length=1)] = [Route()]
    limits: ProcessLimits = ProcessLimits()
    admin: Admin = Admin()
    log: Log = Log()
    capture: Capture = Capture()

    def mode_of(self, route: Route) -> Mode:
        """Return the mode of ``route``: its own, or that of all routes."""
        return route.mode or self.mode


LOG_LEVELS: Final[tuple[str, ...]] = get_args(LogLevel)
