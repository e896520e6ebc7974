"""Loads the settings from file, environment and flags, and describes their faults."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from spoe_guard.settings import checks
from spoe_guard.settings.derived import add_derived, add_payload
from spoe_guard.settings.layers import Given, add_environment, add_file, add_flags
from spoe_guard.settings.model import Settings
from spoe_guard.settings.problems import MOST_NAMED, ConfigError, Key, Problem, dotted
from spoe_guard.settings.products import add_products
from spoe_guard.settings.profiles import add_profiles


@dataclass(frozen=True)
class Loaded:
    """The settings in effect, and the origin of each value that is no default."""

    settings: Settings
    origins: Mapping[Key, str]

    def origin(self, key: Key) -> str:
        """Return ``default``, ``profile NAME``, ``haproxy.KEY``, ``FILE:LINE``, ``environment NAME`` or ``flag --x``."""
        inside = (where for other, where in self.origins.items() if other[: len(key)] == key)  # of `{set: NAME}`, the name's
        return self.origins.get(key) or next(inside, "default")

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (key, value as in a file, origin) for every key, in order; of ``policy`` only the chosen actions."""
        return [(dotted(key), written(value), self.origin(key)) for key, value in self.leaves()]

    def leaves(self) -> list[tuple[Key, object]]:
        """Return (key, value) for every key, in order; durations as in a file; of ``policy`` only the chosen actions."""
        return leaves_below((), self.settings.model_dump(mode="json"))


def load(file: Path | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None) -> Loaded:
    """Return the settings: defaults < profiles and what follows from others < ``file`` < ``environ`` < ``flags``.

    ``file`` is YAML; ``flags`` as in ``layers.FLAGS``.

    Raises:
        ConfigError: the settings have a fault.
    """
    given = Given()
    if file is not None:
        add_file(given, file)
    add_environment(given, environ or {})
    add_flags(given, flags or {})
    add_products(given)
    add_profiles(given)  # a product names one
    add_derived(given)
    add_payload(given)
    origins = given.origins
    try:
        settings = Settings.model_validate(given.tree)
    except ValidationError as error:
        details = error.errors(include_url=False)
        named = [_problem(detail, origins) for detail in details[:MOST_NAMED]]  # looking for the key that was meant takes long
        raise ConfigError(*named, unnamed=len(details) - len(named)) from None
    found = [Problem(key, value, _origin(key, origins), message) for key, value, message in checks.faults(settings)]
    if found:
        raise ConfigError(*found)
    return Loaded(settings, origins)


def _problem(detail: Any, origins: Mapping[Key, str]) -> Problem:  # noqa: ANN401 pydantic's ErrorDetails, whose ctx is Any
    key: Key = tuple(str(part) for part in detail["loc"])
    value = detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            message = _unknown_key(key)
        case "value_error":
            message = str(detail["ctx"]["error"])
        case "literal_error":
            message = f"allowed: {', '.join(_choices(key))}"
        case "model_type" | "model_attributes_type":
            message = f"expected keys below it: {', '.join(_model_at((*key, '')).model_fields)}"
        case _:
            message = detail["msg"]
    return Problem(dotted(key), value, _nearest(key, origins), message)


def _unknown_key(key: Key) -> str:
    known = list(_model_at(key).model_fields)
    close = difflib.get_close_matches(key[-1], known, n=2, cutoff=0.7)
    if close:
        return f"unknown key; did you mean {' or '.join(close)}?"
    what = "unknown anomaly" if key[-2:-1] == ("policy",) else "unknown key"
    return f"{what}; allowed: {', '.join(known)}"


def _model_at(key: Key) -> type[BaseModel]:
    """Return the section that contains the last part of ``key``."""
    model: type[BaseModel] = Settings
    for part in key[:-1]:
        if not part.isdigit():
            annotation: Any = model.model_fields[part].annotation  # a section, or a list of one
            model = next(iter(get_args(annotation)), annotation)
    return model


def _choices(key: Key) -> list[str]:
    annotation = _model_at(key).model_fields[key[-1]].annotation  # a Literal, or one or None
    literals = [arg for arg in get_args(annotation) if arg is not type(None)]
    return [str(choice) for literal in literals for choice in (get_args(literal) or (literal,))]


def _origin(key: str, origins: Mapping[Key, str]) -> str:
    return _nearest(tuple(key.replace("[", ".").replace("]", "").split(".")), origins)


def _nearest(key: Key, origins: Mapping[Key, str]) -> str:
    """Return the origin of the value, or of the section around it; empty for a default."""
    while key and key not in origins:
        key = key[:-1]
    return origins.get(key, "")


def leaves_below(key: Key, node: object) -> list[tuple[Key, object]]:
    """Return (key, value) for every key below ``key``, in order; ``node``: what stands there, as JSON values."""
    if isinstance(node, list) and key == ("routes",):
        return [leaf for index, child in enumerate(node) for leaf in leaves_below((*key, str(index)), child)]
    if isinstance(node, dict):
        children = {name: child for name, child in node.items() if child is not None} if key[2:] == ("policy",) else node
        return [leaf for name, child in children.items() for leaf in leaves_below((*key, name), child)] or [(key, "{}")]
    return [(key, node)]


def written(value: object) -> str:
    """Return a value as it is written in a file."""
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
