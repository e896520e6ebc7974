"""Recognises Coraza, CrowdSec, ModSecurity and SPOE-auth by what HAProxy sends to them and looks at, and says what suits them."""

from dataclasses import dataclass
from typing import Final

from spoe_guard.placement.findings import Engine
from spoe_guard.settings.products import PRODUCTS, named
from spoe_guard.settings.profiles import PROFILES

USUAL_PROCESSING: Final = "1s"  # where `timeout processing` has to change: as in config/haproxy


@dataclass(frozen=True)
class Traits:
    """What gives an agent away that people run, and how long it takes to start.

    ``prefixes``: of its variables; ``variables``: what rules look at, without the prefix. ``messages``: how their names begin.
    ``arguments``: names in `args`; ``unnamed``: samples that stand together in `args` without a name. ``port``: where it listens
    by default, which tells little. ``processing``: a `timeout processing` that is longer than it takes to start.
    """

    title: str
    processing: str
    prefixes: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    messages: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    port: int = 0


# By the names in PRODUCTS, which a test holds this to. Source: the files that each product ships for HAProxy.
TRAITS: Final = {
    "coraza": Traits(
        "Coraza",
        "5s",
        prefixes=("coraza",),
        variables=("fail", "action"),
        messages=("coraza-",),
        arguments=("exportRuleIDs",),
        unnamed=("unique-id", "src", "method", "path", "query", "req.ver", "req.hdrs", "req.body"),
        port=9000,
    ),
    "crowdsec": Traits(
        "CrowdSec",
        "5s",
        prefixes=("crowdsec",),
        variables=("remediation",),
        messages=("crowdsec-",),
        arguments=("remediation", "crowdsec_captcha_cookie"),
        port=9000,
    ),
    "modsecurity": Traits(
        "ModSecurity",
        "1s",
        prefixes=("modsec", "modsecurity"),
        variables=("code",),
        unnamed=("unique-id", "method", "path", "query", "req.ver", "req.hdrs_bin", "req.body_size", "req.body"),
        port=12345,
    ),
    "spoe-auth": Traits("SPOE-auth", "1s", variables=("is_authenticated",), messages=("try-auth-",), port=8081),
}


@dataclass(frozen=True)
class Recognised:
    """A product and by what it was recognised, for a person. ``profile``: empty if nothing speaks for any."""

    profile: str
    signs: tuple[str, ...]


def recognise(engine: Engine) -> Recognised:
    """Return the product for which most speaks; none where two have as much."""
    found = {name: _signs(engine, product) for name, product in TRAITS.items()}
    most = max(len(signs) for signs in found.values())
    best = [name for name, signs in found.items() if len(signs) == most]
    if most and len(best) == 1:
        return Recognised(best[0], tuple(found[best[0]]))
    ports = {server.address.rpartition(":")[2] for server in engine.servers}
    by_port = [name for name, product in TRAITS.items() if str(product.port) in ports]
    return Recognised("", tuple(f"port {TRAITS[name].port}, as {TRAITS[name].title} has it" for name in by_port))


def _signs(engine: Engine, product: Traits) -> list[str]:
    """Return what speaks for ``product``, at most one sign of each kind; empty where nothing but variables of such names does."""
    prefix = engine.var_prefix()
    arguments = engine.conf.arguments()
    unnamed = {each.sample for each in arguments if not each.name}
    kinds: list[list[str]] = [
        [f"var-prefix {prefix}" for each in product.prefixes if each == prefix],
        [f"message {each.name}" for each in engine.conf.messages if product.messages and each.name.startswith(product.messages)],
        [f"argument {each.name}" for each in arguments if each.name in product.arguments],
        [f"arguments {' '.join(product.unnamed)}"] if product.unnamed and unnamed.issuperset(product.unnamed) else [],
    ]
    variables = [each for each in product.variables if prefix and engine.haproxy.looks_at(f".{prefix}.{each}")]
    signs = [each[0] for each in kinds if each]
    return [*signs, *(f"variable {prefix}.{each}" for each in variables[:1])] if signs else []


def profile_names() -> list[str]:
    """Return the profiles that the settings know: of products first, and of libraries."""
    return [*PRODUCTS, *PROFILES]


def profile(text: str) -> str:
    """Return the name of a profile, of a product maybe with a release behind ``@``.

    Raises:
        ValueError: the settings know none of that name; the text says which there are.
    """
    if text.partition("@")[0] in PRODUCTS:
        return named(text)
    if text not in PROFILES:
        raise ValueError(f"allowed: {', '.join(profile_names())}")
    return text


def processing_of(profile: str) -> str:
    """Return the `timeout processing` to write where it has to change. ``profile``: maybe with a release behind ``@``."""
    product = TRAITS.get(profile.partition("@")[0])
    return product.processing if product else USUAL_PROCESSING


def profile_settings(profile: str) -> dict[str, object]:
    """Return the keys of a route that choose ``profile``, as the settings have them; none for the profile ``none``."""
    if profile.partition("@")[0] in PRODUCTS:
        return {"profile": profile}
    return {} if profile == "none" else {"hello": {"profile": profile}}
