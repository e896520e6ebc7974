"""What `spoe-guard ctl` may ask of the whole guard, and change in it: one process, or the parent of several workers."""

import asyncio
import difflib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from time import monotonic, time_ns
from typing import Any, Final, Protocol, get_args

from spoe_guard.control.peer import Peer
from spoe_guard.control.protocol import Message, RefusedError
from spoe_guard.control.server import Send
from spoe_guard.observe.live.status import Live
from spoe_guard.observe.logs import Log
from spoe_guard.options import LogLevel
from spoe_guard.run.inside import Inside
from spoe_guard.run.reload import Reloader, StoppingError
from spoe_guard.settings import Loaded, Mode, Route, with_log_level, with_mode

Request = Mapping[str, Any]
Answers = Mapping[int, Any]  # by worker; 0 is a single process

MOST_TAPPED: Final = 10_000  # frames and anomalies; a hundredth where nothing is given
LONGEST_TAP_S: Final = 600  # a tenth where nothing is given
LONGEST_CAPTURE_S: Final = 300
EVERY_S: Final = 0.1  # between two looks at what has come
HEARTBEAT_S: Final = 1.0  # where nothing has come, so that it is seen whether the client is still there
_NAMED: Final = 8  # routes, where a name is none
_LATE_S: Final = 5.0  # on top of what a drain may take by its settings, until a worker counts as one that does not answer


class Everyone(Protocol):
    """The processes of the guard."""

    def keep_drained(self, route: str, *, drained: bool) -> None:
        """Note whether a route is drained for workers that start later."""

    def numbers(self) -> Sequence[int]:
        """Return the workers that there are; of a single process 0."""

    async def ask(self, what: str, given: Message, more_s: float = 0.0) -> Answers:
        """Ask each of them what ``run.inside.Inside`` knows; return the answers of those that gave one in time."""


class Alone:
    """A single process, which asks itself."""

    def __init__(self, inside: Inside) -> None:
        self._inside = inside

    def keep_drained(self, route: str, *, drained: bool) -> None:
        """Do nothing: none starts later."""

    def numbers(self) -> Sequence[int]:
        """Return the one number."""
        return (0,)

    async def ask(self, what: str, given: Message, more_s: float = 0.0) -> Answers:  # noqa: ARG002  it needs no bound
        """Return its answer."""
        return {0: await self._inside.ask(what, given)}


@dataclass(frozen=True)
class _Command:
    """``keys``: the arguments it takes. ``logged``: it changes something, or shows what peers write."""

    do: Callable[[Request, Send], Awaitable[object]]
    keys: frozenset[str]
    logged: bool


class Control:
    """Carries out the requests of the control socket. ``live``: what the status is taken from."""

    def __init__(self, everyone: Everyone, reloader: Reloader, live: Live, log: Log) -> None:
        self._everyone = everyone
        self._reloader = reloader
        self._live = live
        self._log = log
        self._commands = {
            "status": _Command(self._status, frozenset(), logged=False),
            "sessions": _Command(self._sessions, frozenset(("route",)), logged=False),
            "links": _Command(self._links, frozenset(("route",)), logged=False),
            "routes": _Command(self._routes, frozenset(), logged=False),
            "config": _Command(self._config, frozenset(), logged=False),
            "mode": _Command(self._mode, frozenset(("route", "mode")), logged=True),
            "drain": _Command(self._drain, frozenset(("route",)), logged=True),
            "resume": _Command(self._resume, frozenset(("route",)), logged=True),
            "close": _Command(self._close, frozenset(("session",)), logged=True),
            "log-level": _Command(self._log_level, frozenset(("log_level",)), logged=True),
            "reload": _Command(self._reload, frozenset(), logged=True),
            "capture": _Command(self._capture, frozenset(("route", "seconds")), logged=True),
            "tap": _Command(self._tap, frozenset(("route", "limit", "seconds", "values")), logged=True),
        }
        self._tapped: set[str] = set()  # routes

    async def carry_out(self, request: Request, peer: Peer, send: Send) -> object:
        """Do what ``peer`` asks for, and return the answer. What changes something is logged before it is done.

        Raises:
            RefusedError: it cannot be done, and why.
        """
        name = request["do"]
        command = self._commands.get(name)
        if command is None:
            raise RefusedError(f"{name!a}: no such command; there is {', '.join(self._commands)}")
        given = {key: value for key, value in request.items() if key != "do"}
        if unknown := given.keys() - command.keys:
            raise RefusedError(f"{name}: {min(unknown)!a}: no such argument; {_some(command.keys)}")
        if not command.logged:
            return await command.do(given, send)
        about = {
            "command": name,
            **{key: str(value) for key, value in given.items()},
            "uid": peer.uid,
            "user": peer.user,
            "pid": peer.pid,
        }
        self._log.say("warning", "control", **about)
        try:
            return await command.do(given, send)
        except RefusedError as error:
            self._log.say("warning", "control_failed", **about, error=str(error))
            raise

    # --- what is asked -------------------------------------------------------------------------------------------------

    async def _status(self, _given: Request, _send: Send) -> object:
        """Return the status document of /api/status, without its history and the incidents."""
        status = await self._live.status()
        routes = [{key: value for key, value in route.items() if key != "history"} for route in status["routes"]]
        return {key: value for key, value in status.items() if key != "incidents"} | {"routes": routes}

    async def _sessions(self, given: Request, _send: Send) -> object:
        return await self._rows("sessions", given)

    async def _links(self, given: Request, _send: Send) -> object:
        return await self._rows("links", given)

    async def _rows(self, what: str, given: Request) -> object:
        asked = {"route": self._route(given).name} if given.get("route") is not None else {}
        answers = await self._everyone.ask(what, asked)
        return {
            what: [row for _worker, answer in sorted(answers.items()) for row in answer["rows"]],
            "left_out": sum(answer["left_out"] for answer in answers.values()),
            "silent": self._silent(answers),
        }

    async def _routes(self, _given: Request, _send: Send) -> object:
        answers = await self._everyone.ask("routes", {})
        settings = self._reloader.running.settings
        rows = []
        for route in settings.routes:
            inside = [answer[route.name] for answer in answers.values() if route.name in answer]
            place = self._live.places.get(route.name)
            rows.append(
                {
                    "route": route.name,
                    "listen": place.listen if place is not None else str(route.listen),
                    "agent": [str(agent) for agent in route.agent],
                    "mode": settings.mode_of(route),
                    "drained": any(each["drained"] for each in inside),
                    "enforced": sum(each["enforced"] for each in inside),
                    "observed": sum(each["observed"] for each in inside),
                }
            )
        return {"routes": rows, "silent": self._silent(answers)}

    async def _config(self, _given: Request, _send: Send) -> object:
        rows = self._reloader.running.rows()
        return {"settings": [{"key": key, "value": value, "origin": origin} for key, value, origin in rows]}

    # --- what is changed -----------------------------------------------------------------------------------------------

    async def _mode(self, given: Request, _send: Send) -> object:
        route = self._route(given)
        mode: Mode = _one_of("mode", given, get_args(Mode))
        changed = await self._change(lambda loaded: with_mode(loaded, route.name, mode))
        answers = await self._everyone.ask("routes", {})  # behind the settings: who answers has them
        other = "observed" if mode == "enforce" else "enforced"
        left = sum(answer[route.name][other] for answer in answers.values() if route.name in answer)
        return {
            "route": route.name,
            "mode": mode,
            "changed": changed,
            "sessions_in_other_mode": left,
            "silent": self._silent(answers),
        }

    async def _log_level(self, given: Request, _send: Send) -> object:
        level: LogLevel = _one_of("log_level", given, get_args(LogLevel))
        changed = await self._change(lambda loaded: with_log_level(loaded, level))
        answers = await self._everyone.ask("routes", {})
        return {"log_level": level, "changed": changed, "silent": self._silent(answers)}

    async def _reload(self, _given: Request, _send: Send) -> object:
        try:
            outcome = await self._reloader.order()
        except StoppingError:
            raise RefusedError(_STOPPING) from None
        if outcome.problems:
            raise RefusedError(f"nothing has changed: {'; '.join(outcome.problems)}")
        what = outcome.changed
        return {
            "changed": list(what.keys),
            "added": list(what.added),
            "removed": list(what.removed),
            "silent": self._silent(await self._everyone.ask("routes", {})),
        }

    async def _drain(self, given: Request, _send: Send) -> object:
        route = self._route(given)
        more_s = route.timeouts.close + 3 * route.disconnect_hold + _LATE_S
        self._everyone.keep_drained(route.name, drained=True)
        answers = await self._everyone.ask("drain", {"route": route.name}, more_s)
        if why := _first_error(answers):
            self._everyone.keep_drained(route.name, drained=False)
            raise RefusedError(f"route {route.name} cannot stop to listen: {why}")
        sessions, reset = (sum(answer[key] for answer in answers.values()) for key in ("sessions", "reset"))
        return {"route": route.name, "sessions": sessions, "reset": reset, "silent": self._silent(answers)}

    async def _resume(self, given: Request, _send: Send) -> object:
        route = self._route(given)
        answers = await self._everyone.ask("resume", {"route": route.name})
        if why := _first_error(answers):
            raise RefusedError(f"route {route.name} stays drained: {why}")
        self._everyone.keep_drained(route.name, drained=False)
        return {"route": route.name, "silent": self._silent(answers)}

    async def _close(self, given: Request, _send: Send) -> object:
        name = given.get("session")
        worker, number = _session(name)
        if worker not in self._everyone.numbers():
            raise RefusedError(f"session {name}: {_UNKNOWN}")
        answers = await self._everyone.ask("close", {"worker": worker, "number": number})
        if worker not in answers:
            raise RefusedError(f"session {name}: worker {worker} does not answer")
        if not answers[worker]:
            raise RefusedError(f"session {name}: {_UNKNOWN}")
        return {"session": name}

    # --- what the peers carry ------------------------------------------------------------------------------------------

    async def _capture(self, given: Request, _send: Send) -> object:
        route, seconds = self._route(given), _number("seconds", given, 0, LONGEST_CAPTURE_S, 0)
        answers = await self._everyone.ask("capture", {"route": route.name, "seconds": seconds})
        captures = [answer["captures"] for answer in answers.values()]
        if None in captures:
            raise RefusedError("nothing is recorded: set capture.dir, and reload; sessions that begin then are")
        return {
            "route": route.name,
            "seconds": seconds,
            "captures": sum(captures),
            "sessions": sum(answer["sessions"] for answer in answers.values()),
            "dir": self._reloader.running.settings.capture.dir,
            "silent": self._silent(answers),
        }

    async def _tap(self, given: Request, send: Send) -> object:
        """Send what the route's sessions carry, a frame an item, until one of the bounds; None: nothing has come for a while."""
        route = self._route(given).name
        limit = _number("limit", given, 1, MOST_TAPPED, MOST_TAPPED // 100)
        seconds = _number("seconds", given, 1, LONGEST_TAP_S, LONGEST_TAP_S // 10)
        values = given.get("values") is True
        self._check_payload(values=values)
        if route in self._tapped:
            raise RefusedError(f"somebody else listens to route {route}; the log says who (control)")
        self._tapped.add(route)
        try:
            return await self._listen({"route": route, "values": values}, limit, seconds, send)
        finally:
            self._tapped.discard(route)
            await self._everyone.ask("untap", {"route": route})

    def _check_payload(self, *, values: bool) -> None:
        """Refuse to show what ``admin.payload`` keeps."""
        payload = self._reloader.running.settings.admin.payload
        if payload == "off" or (values and payload != "full"):
            what, need = ("values", "full") if values else ("frames", "headers or full")
            raise RefusedError(f"no {what} are shown: admin.payload is {payload}; set it to {need}, and reload")

    async def _listen(self, asked: Message, limit: int, seconds: int, send: Send) -> object:
        end, sent, said, left_out = monotonic() + seconds, 0, monotonic(), 0
        wall = time_ns() / 1e9 - monotonic()
        while sent < limit and (now := monotonic()) < end:
            answers = await self._everyone.ask("tap", asked)
            self._check_payload(values=asked["values"])  # a reload may have come
            left_out = sum(answer["left_out"] for answer in answers.values())
            rows = sorted((row for answer in answers.values() for row in answer["rows"]), key=itemgetter("at"))
            for row in rows[: limit - sent]:
                at = datetime.fromtimestamp(row["at"] + wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                await send({**row, "at": at})
            sent += min(len(rows), limit - sent)
            if rows or now >= said + HEARTBEAT_S:
                said = now
            if not rows and said == now:
                await send(None)
            await asyncio.sleep(EVERY_S)
        return {"route": asked["route"], "shown": sent, "left_out": left_out}

    # --- inside --------------------------------------------------------------------------------------------------------

    async def _change(self, change: Callable[[Loaded], Loaded]) -> bool:
        try:
            return bool(await self._reloader.change(change))
        except StoppingError:
            raise RefusedError(_STOPPING) from None

    def _route(self, given: Request) -> Route:
        name = given.get("route")
        routes = {route.name: route for route in self._reloader.running.settings.routes}
        if not isinstance(name, str) or name not in routes:
            close = difflib.get_close_matches(str(name), routes, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there is {', '.join([*routes][:_NAMED])}"
            raise RefusedError(f"route: {name!a}: there is no such route; {hint}")
        return routes[name]

    def _silent(self, answers: Answers) -> list[int]:
        """Return the workers that have not answered."""
        return [number for number in self._everyone.numbers() if number not in answers]


def _number(key: str, given: Request, low: int, high: int, default: int) -> int:
    value = given.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise RefusedError(f"{key}: {value!a}: expected a whole number from {low} to {high}")
    return value


_STOPPING: Final = "the guard stops, and changes nothing any more"
_UNKNOWN: Final = "there is no such session; `ctl sessions` lists them"


def _one_of(key: str, given: Request, allowed: tuple[Any, ...]) -> Any:  # noqa: ANN401  one of them
    value = given.get(key)
    if value not in allowed:
        raise RefusedError(f"{key.replace('_', '-')}: {value!a}: allowed: {', '.join(allowed)}")
    return value


def _some(keys: frozenset[str]) -> str:
    return f"it takes {', '.join(sorted(keys))}" if keys else "it takes none"


def _first_error(answers: Answers) -> str:
    return next((answer["error"] for answer in answers.values() if "error" in answer), "")


def _session(name: object) -> tuple[int, int]:
    """Return worker and number of a session."""
    parts = str(name).split("-")
    if not 1 <= len(parts) <= 2 or not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in parts):  # noqa: PLR2004
        raise RefusedError(f"session: {name!a}: expected its name as `ctl sessions` has it, such as 17 or 2-17")
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 else (0, int(parts[0]))  # noqa: PLR2004
