"""What is said of settings that are allowed."""

from spoe_guard.core.anomalies import CATALOGUE
from spoe_guard.settings import hello_changes, load, warnings


def test_changes_of_hello_are_said(from_yaml):
    default = load().settings
    assert hello_changes(default, default.routes[0]) == [
        "capabilities: all but pipelining removed from both HELLOs",
        "max-frame-size: 1048572 in HAPROXY-HELLO where HAProxy offers more",
        "max-frame-size: 12 less than HAProxy offers in both HELLOs, unless it offers async",
        "max-frame-size: 256 in the AGENT-HELLO of a health check",
    ]
    text = "routes: [{hello: {capabilities: [], max_frame_size: 8k, always_offer: [pipelining], engine_id: e, keys: exact}}]"
    settings = from_yaml(text).settings
    assert hello_changes(settings, settings.routes[0]) == [
        "capabilities: all removed from both HELLOs",
        "max-frame-size: 8192 in HAPROXY-HELLO where HAProxy offers more",
        "max-frame-size: 12 less than HAProxy offers in both HELLOs, unless it offers async",
        "capabilities: pipelining added to HAPROXY-HELLO where HAProxy does not offer it",
        "engine-id: e in HAPROXY-HELLO where HAProxy names none",
        "keys: unknown ones removed from HAPROXY-HELLO, mistyped ones retyped",
        "max-frame-size: 256 in the AGENT-HELLO of a health check",
    ]
    observing = from_yaml("mode: observe").settings
    assert hello_changes(observing, observing.routes[0]) == ["none: in observe mode not a byte is changed"]


def test_what_has_no_effect_is_said(from_yaml):
    unseen = next(anomaly for anomaly, row in CATALOGUE.items() if not row.detected)
    action = next(iter(CATALOGUE[unseen].allowed)).value
    policy = f"{{{unseen.value}: {action}, runt_frame: close}}"
    text = f"routes: [{{redispatch: off, hello: {{capabilities: [async]}}, policy: {policy}}}]"
    assert warnings(from_yaml(text).settings) == [
        f"routes[0].policy.{unseen.value}: no effect, this version does not look for it",
        "routes[0].hello.capabilities: async: an ACK on another connection than its NOTIFY's is dropped",
    ]
    assert warnings(load().settings) == ["routes[0].redispatch: no effect, this version has one agent link per session"]
