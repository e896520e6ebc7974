"""Profiles of libraries: ordinary settings that are known to suit the agents built on one.

A profile sets keys that are not set elsewhere: it overrides the defaults; file, environment and flags override it.
"""

from typing import Final

from spoe_guard.settings.layers import Given

# Keyed by profile, section of the route and key.
PROFILES: Final[dict[str, dict[str, dict[str, object]]]] = {
    "none": {},
    # Refuses HELLO without pipelining or without an engine-id: where HAProxy has `no option pipelining`, and up to 1.0.7 in
    # every health check. It pipelines into one writer, and sends DISCONNECT after 30 idle seconds while handlers may still run.
    "criteo": {
        "hello": {"always_offer": ["pipelining"], "engine_id": "spoe-guard"},
        "links": {"max": 20, "in_flight": 1, "retire": "25s"},
    },
    # Its process ends when a key has another type than in SPOE.txt.
    "negasus": {"hello": {"keys": "exact"}},
    # Up to 0.0.6 it announces pipelining and then interleaves the bytes of its answers; up to 0.0.8 it stops answering when it is
    # offered more than 65535 bytes.
    "dropmore": {"hello": {"capabilities": [], "max_frame_size": 65535}, "links": {"max": 20, "in_flight": 1}},
    # Compares key names only up to the length of the key it received.
    "spoa-c": {"hello": {"keys": "exact"}},
}


def add_profiles(given: Given) -> None:
    """Add to each route the values of its ``hello.profile`` that are not set elsewhere. The checks report an unknown profile."""
    for index, route in given.routes():
        hello = route.get("hello")
        profile = hello.get("profile") if isinstance(hello, dict) else None
        for section, values in (PROFILES.get(profile, {}) if isinstance(profile, str) else {}).items():
            for name, value in values.items():
                given.fill(index, (section, name), value, f"profile {profile}")
