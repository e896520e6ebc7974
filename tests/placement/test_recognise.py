"""Which agent it is, told by what HAProxy sends to it and looks at; and that the settings know each profile."""

import pytest

from spoe_guard.placement.guard_yaml import read_back
from spoe_guard.placement.recognise import TRAITS, processing_of, profile, profile_names, profile_settings, recognise
from spoe_guard.settings.products import PRODUCTS
from tests.placement.files import found, sources

OWN = "option var-prefix {}"


@pytest.mark.parametrize(
    ("changed", "profile", "sign"),
    [
        ({"agent": OWN.format("coraza")}, "coraza", "var-prefix coraza"),
        ({"message": "args exportRuleIDs=bool(false)"}, "coraza", "argument exportRuleIDs"),
        ({"message": "args unique-id src method path query req.ver req.hdrs req.body"}, "coraza", "arguments unique-id src"),
        ({"message": "args a=src\nspoe-message coraza-req"}, "coraza", "message coraza-req"),
        ({"agent": OWN.format("crowdsec")}, "crowdsec", "var-prefix crowdsec"),
        ({"message": "args remediation=var(txn.x.remediation)"}, "crowdsec", "argument remediation"),
        ({"message": "args crowdsec_captcha_cookie=req.cook(x)"}, "crowdsec", "argument crowdsec_captcha_cookie"),
        ({"agent": OWN.format("modsec")}, "modsecurity", "var-prefix modsec"),
        (
            {"message": "args unique-id method path query req.ver req.hdrs_bin req.body_size req.body"},
            "modsecurity",
            "arguments unique-id method",
        ),
        ({"message": "args a=src\nspoe-message try-auth-oidc"}, "spoe-auth", "message try-auth-oidc"),
    ],
)
def test_a_product_is_recognised_by_prefix_message_or_arguments(changed, profile, sign):
    recognised = recognise(found(sources(**changed)))
    assert recognised.profile == profile
    assert recognised.signs[0].startswith(sign)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"message": "args headers=req.hdrs_bin path=path"},  # HAProxy's own spoa-mirror has these
        {"agent": OWN.format("waf"), "rules": "http-request deny if { var(txn.waf.fail) -m found }"},
        {"agent": OWN.format("coraza"), "message": "args remediation=src"},  # as much speaks for one as for another
    ],
)
def test_an_agent_of_ones_own_is_not_taken_for_a_product(changed):
    assert recognise(found(sources(**changed))).profile == ""


def test_a_variable_that_rules_look_at_decides_between_two():
    rules = "http-request deny if { var(txn.crowdsec.remediation) -m str ban }"
    recognised = recognise(found(sources(agent=OWN.format("crowdsec"), message="args exportRuleIDs=src", rules=rules)))
    assert (recognised.profile, recognised.signs) == ("crowdsec", ("var-prefix crowdsec", "variable crowdsec.remediation"))


@pytest.mark.parametrize(
    ("port", "signs"),
    [
        (9000, ("port 9000, as Coraza has it", "port 9000, as CrowdSec has it")),
        (12345, ("port 12345, as ModSecurity has it",)),
        (9999, ()),
    ],
)
def test_a_port_alone_is_a_hint_and_no_more(port, signs):
    recognised = recognise(found(sources(servers=f"server a 127.0.0.1:{port}")))
    assert (recognised.profile, recognised.signs) == ("", signs)


@pytest.mark.parametrize("name", profile_names())
def test_the_guard_takes_each_profile_that_init_offers(name):
    chosen = profile_settings(name)
    lines = "".join(f"    {key}: {value}\n" for key, value in chosen.items())
    assert read_back(f"routes:\n  - name: x\n{lines}").settings.routes[0].name == "x"
    assert bool(chosen) == (name != "none")


def test_a_product_may_have_a_release_and_needs_time_to_start():
    assert [processing_of(name) for name in ("coraza", "coraza@0.5", "crowdsec", "none", "dropmore")] == [
        "5s",
        "5s",
        "5s",
        "1s",
        "1s",
    ]
    assert profile_settings("coraza@0.5") == {"profile": "coraza@0.5"}


def test_every_product_that_the_settings_know_can_be_recognised():
    assert list(TRAITS) == list(PRODUCTS)


@pytest.mark.parametrize(
    ("text", "error"),
    [("corazza", "allowed: coraza, "), ("coraza@9", "no such release of coraza is known"), ("dropmore@1", "allowed: coraza, ")],
)
def test_a_profile_that_the_settings_do_not_know_is_refused(text, error):
    with pytest.raises(ValueError) as refusal:
        profile(text)
    assert str(refusal.value).startswith(error)
