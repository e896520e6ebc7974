"""Checks across several keys, and warnings about settings that are allowed."""

import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from spoe_guard.address import Address
from spoe_guard.core.payloads.hello import SPARE_BYTES
from spoe_guard.core.terms.anomalies import Action, Anomaly
from spoe_guard.settings import units
from spoe_guard.settings.cores import usable_cores
from spoe_guard.settings.model import MAX_UINT32, Route, Settings
from spoe_guard.settings.products import product_of
from spoe_guard.wire.frame import DEFAULT_MAX_FRAME_SIZE, LENGTH_BYTES, MIN_MAX_FRAME_SIZE

_WILDCARDS: Final = frozenset(("0.0.0.0", "::", "*"))  # noqa: S104 compared with, not bound
FAILS_OPEN: Final = "empty-ack fails open: requests whose NOTIFY gets no answer go on unchecked; not for a WAF"
_LOOPBACKS: Final = frozenset(("127.0.0.1", "::1", "localhost"))

_MAY_WRITE: Final = 0o022  # the bits by which others than the owner may add and remove files
_MAY_CONNECT: Final = 0o022  # the bits by which others than the owner may connect: unix(7)

Fault = tuple[str, object, str]  # dotted key, value, what is allowed


def faults(settings: Settings) -> Iterator[Fault]:
    """Yield the faults that involve several keys, in the order of the keys."""
    names: dict[str, int] = {}
    listeners: dict[Address, str] = {}
    for index, route in enumerate(settings.routes):
        first = names.setdefault(route.name, index)
        if first != index:
            yield f"routes[{index}].name", route.name, f"expected a name of its own: routes[{first}] has this one"
        yield from _taken(listeners, f"routes[{index}].listen", route.listen)
        for agent in route.agent:
            if _would_dial_itself(route.listen, agent):
                allowed = f"expected the agent's address: {route.listen} is routes[{index}].listen"
                yield f"routes[{index}].agent", str(agent), allowed
        yield from _nobody(f"routes[{index}].socket.owner", route.socket.owner, "user", pwd.getpwnam)
        yield from _nobody(f"routes[{index}].socket.group", route.socket.group, "group", grp.getgrnam)
        if settings.workers != 1 and "async" in route.hello.capabilities:
            allowed = "expected no async unless workers is 1: an ACK that comes to another worker than its NOTIFY would be lost"
            yield f"routes[{index}].hello.capabilities", ", ".join(route.hello.capabilities), allowed
        if route.health == "listen" and (settings.workers != 1 or route.listen.path is not None):
            allowed = "expected check: with several workers, or on a Unix socket, the guard cannot stop to listen for a while"
            yield f"routes[{index}].health", route.health, allowed
        frame = (route.hello.max_frame_size or DEFAULT_MAX_FRAME_SIZE) + LENGTH_BYTES
        if route.limits.held_bytes < frame:
            yield f"routes[{index}].limits.held_bytes", route.limits.held_bytes, f"expected room for one frame: at least {frame}"
    total, workers = settings.limits.total_bytes, settings.workers or usable_cores()
    least = workers * max((route.hello.max_frame_size or DEFAULT_MAX_FRAME_SIZE) + LENGTH_BYTES for route in settings.routes)
    if total is not None and total < least:
        each = "" if workers == 1 else f" in each of {workers} workers"
        yield "limits.total_bytes", total, f"expected room for one frame{each}: at least {least}"
    yield from _taken(listeners, "admin.listen", settings.admin.listen)
    yield from _taken(listeners, "admin.control", settings.admin.control)


def _nobody(key: str, name: str | int | None, what: str, look_up: Callable[[str], object]) -> Iterator[Fault]:
    if isinstance(name, str):
        try:
            look_up(name)
        except KeyError:
            yield key, name, f"expected a {what} of this machine, or a number"


def _taken(listeners: dict[Address, str], key: str, address: Address | None) -> Iterator[Fault]:
    if address is None or (address.path is None and address.port == 0):  # the kernel never chooses the same port twice
        return
    first = listeners.setdefault(address, key)
    if first != key:
        yield key, str(address), f"expected an address of its own: {first} has this one"


def _would_dial_itself(listen: Address, agent: Address) -> bool:
    if agent == listen:
        return True
    same_port = agent.path is None and listen.path is None and agent.port == listen.port
    return same_port and listen.host in _WILDCARDS and agent.host in _LOOPBACKS


def hello_changes(settings: Settings, route: Route) -> list[str]:
    """Return as text how this route's settings change the HELLOs of a healthy pair (promise O4)."""
    if settings.mode_of(route) == "observe":
        return ["none: in observe mode not a byte is changed"]
    hello = route.hello
    kept = f"only {' and '.join(hello.capabilities)} kept" if hello.capabilities else "none kept"
    limit = min(hello.max_frame_size or MAX_UINT32, route.limits.held_bytes - LENGTH_BYTES)
    changes = [
        f"capabilities: {kept} in both HELLOs",
        f"max-frame-size: {limit} in HAPROXY-HELLO where HAProxy offers more",
        f"max-frame-size: {SPARE_BYTES - LENGTH_BYTES} less than HAProxy offers in both HELLOs, unless it offers async",
    ]
    if "pipelining" in hello.capabilities and route.listen.path is None:
        changes.append(f"capabilities: {_one_at_a_time(route.listen)}")
    if route.links.in_flight:
        changes.append("capabilities: pipelining in AGENT-HELLO where HAProxy offers it, the guard keeps NOTIFYs apart itself")
    if hello.always_offer:
        changes.append(f"capabilities: {', '.join(hello.always_offer)} added to HAPROXY-HELLO where HAProxy does not offer it")
    if hello.engine_id is not None:
        changes.append(f"engine-id: {hello.engine_id} in HAPROXY-HELLO where HAProxy names none")
    if hello.keys == "exact":
        changes.append("keys: unknown ones removed from HAPROXY-HELLO, mistyped ones retyped")
    changes += [
        "capabilities: fragmentation in AGENT-HELLO, the guard takes fragments of NOTIFYs itself where the agent does not",
        "keys: unknown ones removed from AGENT-HELLO",
        f"max-frame-size: {MIN_MAX_FRAME_SIZE} in the AGENT-HELLO of a health check",
    ]
    return changes


def _one_at_a_time(listen: Address) -> str:
    """Return where HAProxy is told not to pipeline on a route that listens there; on a Unix socket it is never."""
    where = (
        "where sock_diag is not allowed" if listen.host in _LOOPBACKS else "on another machine or in another network namespace"
    )
    return f"no pipelining in AGENT-HELLO for an HAProxy {where}, unless it offers async: what it has not read cannot be known"


def warnings(settings: Settings) -> list[str]:
    """Return warnings about settings that have no effect, or not the expected one."""
    found = list(_about_workers(settings))
    for index, route in enumerate(settings.routes):
        found += [f"routes[{index}].{note}" for note in (*_about_haproxy(route), *_about_links(settings, route))]
        if route.balance != "first" and len(route.agent) == 1:
            found.append(
                f"routes[{index}].balance: no effect, agent names one address; name each of them, as in [a:9000, b:9000]"
            )
        if settings.share_listen and route.listen.path is not None:
            found.append(f"routes[{index}].listen: share_listen has no effect on a Unix socket")
        found += [f"routes[{index}].{note}" for note in _about_socket(route)]
    admin = settings.admin
    if admin.listen is not None and admin.listen.path is None and admin.listen.host not in _LOOPBACKS and admin.payload == "full":
        found.append("admin.payload: full, and whoever reaches admin.listen reads what NOTIFYs and ACKs with an anomaly carry")
    return [*found, *_about_capture(settings)]


def _about_workers(settings: Settings) -> Iterator[str]:
    """Yield the bounds that apply to each worker alone."""
    if settings.workers == 1:
        return
    if not settings.workers:
        yield f"workers: {usable_cores()} here, one for each core it may use"
    yield "workers: limits.connections, log.rate and capture.rate hold for each worker"
    if any(settings.mode_of(route) == "observe" for route in settings.routes):
        yield "workers: with async, an ACK on a connection of another worker is reported as unmatched_ack; it passes all the same"


def exposed(folder: str, owner: int | None) -> str:
    """Return who beside the user ``owner`` may remove captures from ``folder``, or put files there; empty if nobody may.

    None: it is not known who will write there, so any owner will do.
    """
    try:
        found = Path(folder).stat()
    except OSError:  # it may come yet
        return ""
    if owner is not None and found.st_uid not in (0, owner):
        return f"the folder belongs to uid {found.st_uid}, who may remove captures and read new ones; make uid {owner} its owner"
    if stat.S_IMODE(found.st_mode) & _MAY_WRITE:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        return f"the folder has mode {mode}, so that others may put files there or remove captures; use chmod 0700"
    return ""


def _no_folder(path: str) -> str:
    """Return why captures cannot be written to ``path``; empty if it is a folder."""
    try:
        if stat.S_ISDIR(Path(path).stat().st_mode):
            return ""
    except FileNotFoundError:
        return "there is no such folder, and nothing is captured until there is; create it with mode 0700, for the guard's user"
    except OSError as error:
        return f"it cannot be looked at: {error.strerror}; let the guard's user write there"
    return "this is no folder, so nothing can be captured there"


def _about_capture(settings: Settings) -> Iterator[str]:
    """Yield a warning if captures are not safe from others, or the bytes before an anomaly may be dropped."""
    owner = os.geteuid() or None  # root may check the settings of another user
    if settings.capture.dir is not None and (why := _no_folder(settings.capture.dir) or exposed(settings.capture.dir, owner)):
        yield f"capture.dir: {settings.capture.dir}: {why}"
    workers = settings.workers or usable_cores()
    share, session = settings.capture.total_bytes // workers, 4 * settings.capture.session_bytes
    if settings.capture.dir is not None and share < session:
        each = "" if workers == 1 else f" ({share} for each of {workers} workers)"
        yield (
            f"capture.total_bytes: {settings.capture.total_bytes}{each} is less than the {session} that one session may take "
            "around an anomaly, so captures may lack what led to it"
        )


def _about_haproxy(route: Route) -> Iterator[str]:
    """Yield contradictions between the route's settings and what HAProxy was told, and how requests may go on unchecked."""
    told, unanswered = route.haproxy, route.unanswered
    processing, hello = told.timeout_processing, told.timeout_hello
    if processing is not None and processing <= route.disconnect_hold:
        yield (
            f"disconnect_hold: {units.duration_text(route.disconnect_hold)}, HAProxy gives up before that (timeout processing "
            f"{units.duration_text(processing)}); raise that in spoe.conf, or lower disconnect_hold"
        )
    if processing is not None and (route.answer_deadline or 0.0) >= processing:
        yield "answer_deadline: not below haproxy.timeout_processing, so HAProxy gives up first"
    if hello is not None and hello <= route.timeouts.connect:
        yield (
            f"timeouts.connect: {units.duration_text(route.timeouts.connect)}, and HAProxy waits for HELLO for "
            f"{units.duration_text(hello)} only: a dial may take longer than that"
        )
    if unanswered.kind == "empty-ack":
        better = f"; HAProxy has `option set-on-error`: use {{set: {told.set_on_error}}}" if told.set_on_error else ""
        yield f"unanswered: {FAILS_OPEN}{better}"
    if route.profile and product_of(route.profile).firewall and not unanswered.name and not told.set_on_error:
        yield (
            "haproxy.set_on_error: not known. Without `option set-on-error` in spoe.conf, and a rule that denies where its "
            f"variable is found, HAProxy lets requests pass that {route.profile} did not answer"
        )
    if unanswered.name and told.set_on_error not in (None, unanswered.name):
        yield f"unanswered: sets {unanswered.name}, and haproxy.set_on_error is {told.set_on_error}: rules see one of them alone"
    if unanswered.kind in ("set", "empty-ack") and route.choices().get(Anomaly.LATE_ACK) is Action.PASS:
        yield f"policy.late_ack: pass, and with unanswered {unanswered} HAProxy gets two ACKs for one NOTIFY"


def _about_socket(route: Route) -> Iterator[str]:
    socket = route.socket
    if route.listen.path is None:
        if socket != type(socket)():
            yield "socket: no effect, listen names no Unix socket"
    elif socket.mode is not None and socket.owner is None and not int(socket.mode, 8) & _MAY_CONNECT:
        yield f"socket.mode: {socket.mode} lets only the guard's own user connect, which takes the permission to write"


def _about_links(settings: Settings, route: Route) -> Iterator[str]:
    """Yield warnings about ``links`` and ``redispatch`` settings with no effect, or a surprising one."""
    links = route.links
    if settings.mode_of(route) == "observe":
        changed = links != type(links)() or route.redispatch == "unanswered"
        if changed:
            yield "links: no effect in observe mode, where the agent's connection is HAProxy's own"
        return
    if links.max > 1 and not links.in_flight:
        yield "links.max: no effect, with links.in_flight 0 one link takes every NOTIFY and no second one is opened"
    if links.retire is not None and links.retire >= route.timeouts.idle:
        yield "links.retire: no effect, timeouts.idle ends the whole session before"
    if route.redispatch == "unanswered" and not links.give_up:
        yield "redispatch: no effect, with links.give_up 0 a session ends with its agent link"
    elif route.redispatch == "unanswered" and route.answer_deadline is None:
        yield (
            "redispatch: unanswered without answer_deadline may send a NOTIFY again that HAProxy waits for no longer; "
            "haproxy.timeout_processing sets both"
        )
