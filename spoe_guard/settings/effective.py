"""What `spoe-guard check` prints: the settings in effect, what of them differs from the defaults, and both as JSON."""

import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from spoe_guard.core.terms.anomalies import CATALOGUE, Action, Anomaly, Side
from spoe_guard.core.terms.policy import Policy
from spoe_guard.settings.checks import hello_changes
from spoe_guard.settings.load import Loaded, written
from spoe_guard.settings.model import Route, Settings
from spoe_guard.settings.problems import ConfigError, Key, dotted

FORMAT: Final = 1  # of the JSON: one more where a key goes or changes its meaning; keys may come at any time
_WIDTH: Final = 120

Row = tuple[Key, object, object, str]  # key, value, default, origin


def everything(loaded: Loaded) -> Iterator[str]:
    """Yield the lines that say what is in effect: every setting with its origin, and what becomes of HELLOs."""
    yield from _table([(key, value, origin) for key, value, origin in loaded.rows()])
    for index, route in enumerate(loaded.settings.routes):
        yield f"\nroutes[{index}] ({route.name}): what is changed in the HELLOs of a healthy pair"
        yield from (f"  {change}" for change in hello_changes(loaded.settings, route))


def differences(loaded: Loaded) -> Iterator[str]:
    """Yield the lines that say which settings differ from the defaults, and what each route does about each anomaly."""
    rows = [row for row in _rows(loaded) if row[1] != row[2]]
    if not rows:
        yield "all settings have their defaults"
    yield from _table(
        [(dotted(key), written(value), f"default: {written(default)}", origin) for key, value, default, origin in rows]
    )
    for index, route in enumerate(loaded.settings.routes):
        yield f"\nroutes[{index}] ({route.name}): what is done about anomalies; * chosen, not the default"
        yield from _policy(route)


def document(loaded: Loaded, warnings: Sequence[str], *, diff: bool) -> str:
    """Return all of that as a JSON object; of the settings, with ``diff``, those that differ from the defaults."""
    rows = [row for row in _rows(loaded) if not diff or row[1] != row[2]]
    return _json(
        ok=True,
        settings=[
            {"key": dotted(key), "value": value, "default": default, "origin": origin} for key, value, default, origin in rows
        ],
        routes=[
            {"name": route.name, "hello_changes": hello_changes(loaded.settings, route), "policy": _actions(route)}
            for route in loaded.settings.routes
        ],
        warnings=list(warnings),
    )


def refused(error: ConfigError) -> str:
    """Return what is wrong with settings that cannot be used, as a JSON object."""
    problems = [{"key": each.key, "origin": each.origin, "message": each.message, "text": str(each)} for each in error.problems]
    return _json(ok=False, problems=problems, unnamed=error.count - len(problems))


def refused_with(key: str, text: str) -> str:
    """Return what is wrong with an option beside the settings, as a JSON object."""
    return _json(ok=False, problems=[{"key": key, "origin": "", "message": text, "text": text}], unnamed=0)


def _json(**values: object) -> str:
    return json.dumps({"format": FORMAT, **values}, indent=2)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows of the same number of cells as lines, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _rows(loaded: Loaded) -> Iterator[Row]:
    """Yield every setting; of ``policy`` the actions that were chosen."""
    defaults = dict(Loaded(Settings(), {}).leaves())
    for key, value in loaded.leaves():
        if key[2:3] == ("policy",) and len(key) > len(("routes", "0", "policy")):
            default: object = CATALOGUE[Anomaly(key[-1])].default.value
        else:
            default = defaults[("routes", "0", *key[2:])] if key[0] == "routes" else defaults[key]
        yield key, value, default, loaded.origin(key)


def _policy(route: Route) -> Iterator[str]:
    """Yield a line for each action, with the anomalies it is taken for."""
    policy, chosen = Policy(route.choices()), route.choices()
    from_agent = {anomaly: policy.action(Side.AGENT, anomaly) for anomaly in Anomaly}
    from_haproxy = {anomaly: policy.action(Side.HAPROXY, anomaly) for anomaly in Anomaly}
    to_applet = {anomaly: policy.action(Side.AGENT, anomaly, applet=True) for anomaly in Anomaly}

    def named(where: str, actions: dict[Anomaly, Action], concerns: Callable[[Anomaly], bool]) -> Iterator[str]:
        for action in Action:
            names = [f"{each.value}{'*' * (each in chosen)}" for each in Anomaly if concerns(each) and actions[each] is action]
            if names:
                text = f"{action.value + where:<9}{', '.join(names)}"
                yield textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent=" " * 11, break_on_hyphens=False)

    yield from named("", from_agent, lambda _: True)
    yield from named(", from HAProxy: ", from_haproxy, lambda each: from_haproxy[each] is not from_agent[each])
    yield from named(", to HAProxy up to 3.0: ", to_applet, lambda each: to_applet[each] is not from_agent[each])


def _actions(route: Route) -> dict[str, dict[str, str]]:
    """Return what is done about each anomaly: of the agent, of HAProxy, and of the agent where HAProxy is 3.0 or older."""
    policy = Policy(route.choices())
    return {
        anomaly.value: {
            "agent": policy.action(Side.AGENT, anomaly).value,
            "agent_to_haproxy_up_to_3_0": policy.action(Side.AGENT, anomaly, applet=True).value,
            "haproxy": policy.action(Side.HAPROXY, anomaly).value,
        }
        for anomaly in Anomaly
    }
