"""Agent profiles: what is known to suit the agents of one family, as settings that anyone could write.

A profile fills in what nobody set: its values come before the defaults and behind the file, the environment and the flags.
"""

from typing import Final

from spoe_guard.settings.layers import Given

# By profile, section of the route and key.
PROFILES: Final[dict[str, dict[str, dict[str, object]]]] = {
    "none": {},
    # Refuses HELLO without pipelining or without an engine-id: where HAProxy has `no option pipelining`, and up to 1.0.7 in
    # every health check. It pipelines into one writer, and sends DISCONNECT after 30 idle seconds while handlers may still run.
    "criteo": {
        "hello": {"always_offer": ["pipelining"], "engine_id": "spoe-guard"},
        "links": {"max": 20, "in_flight": 1, "retire": "25s"},
    },
    # A key of another type than SPOE.txt gives it ends the process.
    "negasus": {"hello": {"keys": "exact"}},
    # Up to 0.0.6 it announces pipelining and then writes its answers into one another; up to 0.0.8 it falls silent when it is
    # offered more than 65535 bytes.
    "dropmore": {"hello": {"capabilities": [], "max_frame_size": 65535}, "links": {"max": 20, "in_flight": 1}},
    # Compares the names of keys only as far as the key it got is long.
    "spoa-c": {"hello": {"keys": "exact"}},
}


def add_profiles(given: Given) -> None:
    """Fill in, route by route, what its ``hello.profile`` says and nobody else did. What is no profile is left to the checks."""
    routes = given.tree.get("routes")
    for index, route in list(routes.items()) if isinstance(routes, dict) else ():
        hello = route.get("hello") if isinstance(route, dict) else None
        profile = hello.get("profile") if isinstance(hello, dict) else None
        for section, values in (PROFILES.get(profile, {}) if isinstance(profile, str) else {}).items():
            own = route.get(section)
            if own is not None and not isinstance(own, dict):
                continue
            for name, value in values.items():
                if name not in (own or {}):
                    given.put(("routes", index, section, name), value, f"profile {profile}")
