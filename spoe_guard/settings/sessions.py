"""Converts settings into the core's configuration."""

from typing import Final

from spoe_guard.core.terms.config import Redispatch, SessionConfig, Unanswered
from spoe_guard.core.terms.policy import Policy
from spoe_guard.settings.model import Route, Settings

HAPROXY_HELLO_S: Final = 2.0  # for HAProxy's own HELLO, unless ``timeouts.hello`` is set


def session_config(settings: Settings, route: Route) -> SessionConfig:
    """Return the configuration for the sessions of ``route``."""
    return SessionConfig(
        observe=settings.mode_of(route) == "observe",
        policy=Policy(route.choices()),
        max_frame_size=route.hello.max_frame_size,
        capabilities=frozenset(route.hello.capabilities),
        always_offer=frozenset(route.hello.always_offer),
        engine_id=route.hello.engine_id,
        exact_keys=route.hello.keys == "exact",
        disconnect_hold_s=route.disconnect_hold,
        unanswered=Unanswered(route.unanswered.kind),
        error_name=route.unanswered.name.encode(),
        answer_deadline_s=route.answer_deadline,
        connect_s=route.timeouts.connect,
        hello_s=route.timeouts.hello or HAPROXY_HELLO_S,
        agent_hello_s=route.timeouts.hello,
        frame_s=route.timeouts.frame,
        idle_s=route.timeouts.idle,
        close_s=route.timeouts.close,
        give_up_s=route.links.give_up,
        max_links=route.links.max,
        in_flight=route.links.in_flight,
        retire_s=route.links.retire,
        park_s=route.links.park,
        redispatch=Redispatch(route.redispatch),
        open_notifies=route.limits.open_notifies,
        held_bytes=route.limits.held_bytes,
        glitches=route.limits.glitches.lines,
        glitches_s=route.limits.glitches.period_s,
    )
