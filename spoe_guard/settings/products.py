"""Agents that people run, by name and release: the library each release is built on, and ordinary settings that suit it.

Like the profile of a library, that of a product sets keys that are not set elsewhere: it overrides the defaults; file,
environment and flags override it. It never sets ``haproxy.timeout_processing``, which only the operator knows: one that is too
short would have the guard give up before HAProxy does.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from spoe_guard.settings.layers import Given
from spoe_guard.settings.problems import Key
from spoe_guard.settings.profiles import PROFILES


class Release(NamedTuple):
    """One release of an agent. ``version``: empty where the agent has no releases.

    ``library``: what it is built on, a key of PROFILES, and ``library_version`` of it. ``timeout_hello``: in the spoe.conf that
    comes with it.
    """

    version: str
    library: str
    library_version: str
    timeout_hello: str


class Product(NamedTuple):
    """An agent. ``what`` it is, for readers. ``firewall``: a request without its answer must not pass.

    ``settings`` suit every release, by their keys below the route. ``releases``: oldest first, at least one.
    """

    what: str
    firewall: bool
    settings: Mapping[Key, object]
    releases: tuple[Release, ...]


def _releases(library: str, library_version: str, timeout_hello: str, versions: str) -> tuple[Release, ...]:
    return tuple(Release(version, library, library_version, timeout_hello) for version in versions.split())


# A firewall's verdict may be computed twice, so a NOTIFY may go to a second agent. A variable is said only where every release
# comes with `option set-on-error`.
_VERDICT: Final[Mapping[Key, object]] = {("redispatch",): "unanswered"}
_ERROR: Final[Mapping[Key, object]] = {("haproxy", "set_on_error"): "error"}

PRODUCTS: Final[Mapping[str, Product]] = {
    "coraza": Product(
        "coraza-spoa, the OWASP Coraza web application firewall",
        firewall=True,
        settings={**_VERDICT, **_ERROR},
        releases=(
            *_releases("criteo", "1.0.6", "2s", "0.1-experimental"),
            *_releases("dropmore", "0.0.7", "2s", "0.2.0 0.3.0 0.4.0 0.5.0"),
            *_releases("dropmore", "0.0.8", "2s", "0.5.1 0.6.0 0.6.1 0.7.0 0.7.1 0.7.2"),
        ),
    ),
    "crowdsec": Product(
        "cs-haproxy-spoa-bouncer, CrowdSec's remediation component",
        firewall=True,
        settings={**_VERDICT, **_ERROR},
        releases=(
            *_releases("negasus", "1.0.5", "100ms", "0.0.1 0.0.3 0.0.4 0.1.0 0.1.1 0.1.2 0.2.0"),
            *_releases("negasus", "1.0.7", "100ms", "0.2.1"),
            *_releases("dropmore", "0.0.7", "200ms", "0.3.0"),
        ),
    ),
    "modsecurity": Product(
        "spoa-modsecurity, ModSecurity 2 behind HAProxy's C example of an agent",
        firewall=True,
        settings=_VERDICT,
        releases=(Release("", "spoa-c", "", "100ms"),),
    ),
    # A login that failed would count twice if it were tried twice: no other redispatch than the default.
    "spoe-auth": Product(
        "haproxy-spoe-auth, LDAP and OpenID Connect",
        firewall=False,
        settings={},
        releases=(
            *_releases("criteo", "1.0.6", "2s", "1.0.0 1.1.0 1.2.0 1.3.0 1.4.0"),
            *_releases("negasus", "1.0.5", "2s", "1.5.0 1.6.0 1.7.0 1.7.1 1.8.0 1.9.0 1.9.1 1.9.2"),
        ),
    ),
}

# A dial has to end before HAProxy stops waiting for HELLO, by `timeout hello`; the default of `timeouts.connect` is 1 s.
_CONNECT: Final[Mapping[str, str]] = {"100ms": "75ms", "200ms": "150ms"}


def settings(product: Product, release: Release) -> Iterator[tuple[Key, object]]:
    """Yield key and value of each setting, below the route, that suits that release."""
    yield ("hello", "profile"), release.library
    yield ("haproxy", "timeout_hello"), release.timeout_hello
    if release.timeout_hello in _CONNECT:
        yield ("timeouts", "connect"), _CONNECT[release.timeout_hello]
    yield from product.settings.items()


def product_of(name: str) -> Product:
    """Return the product that a route's ``profile`` names."""
    return PRODUCTS[name.partition("@")[0]]


def named(value: object) -> str:
    """Return ``value`` if it is a product, alone or as ``PRODUCT@RELEASE``.

    Raises:
        ValueError: it is none; the text lists those that are known.
    """
    _find(value)
    return str(value)


def _find(value: object) -> tuple[Product, Release]:
    """Return the product and the release; alone, the newest one. A release may be cut short: 0.7 is the newest of 0.7."""
    name, at, version = value.partition("@") if isinstance(value, str) else ("", "", "")
    if name not in PRODUCTS:
        library = f"; {name} is a library: set hello.profile" if name in PROFILES else ""
        raise ValueError(f"allowed: {', '.join(PRODUCTS)}, each alone or with a release, as in coraza@0.7{library}")
    product = PRODUCTS[name]
    meant = [release for release in product.releases if not at or _is_of(release.version, version)]
    if meant:
        return product, meant[-1]
    versions = ", ".join(filter(None, (release.version for release in product.releases)))
    raise ValueError(
        f"no such release of {name} is known; known: {versions}; {name} alone is the newest"
        if versions
        else f"{name} has no releases: write {name} alone"
    )


def _is_of(version: str, short: str) -> bool:
    """Whether ``version`` is ``short``, or that with more behind it: 0.7.2 is of 0.7, and 0.1-experimental of 0.1."""
    return bool(short) and f"{version}.".startswith((f"{short}.", f"{short}-"))


def add_products(given: Given) -> None:
    """Add to each route the values of its ``profile`` that are not set elsewhere. The checks report an unknown profile."""
    for index, route in given.routes():
        name = route.get("profile")
        try:
            product, release = _find(name)
        except ValueError:
            continue
        # Which release was meant by a name alone, so that it shows when that is another one after an update of the guard.
        origin = f"profile {name}" if "@" in str(name) or not release.version else f"profile {name}@{release.version}"
        for key, value in settings(product, release):
            given.fill(index, key, value, origin)
