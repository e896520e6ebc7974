"""Where guards find each other: by the settings, by systemd, by the user's directory, and otherwise nowhere."""

import stat
import tempfile

import pytest

from spoe_guard.run.handover_place import handover_place
from spoe_guard.settings import load
from tests.observe.conftest import Lines


def found(environ, *, workers=False, **settings):
    """Return the directory while it is held, whether it was private then, and what the log has."""
    lines = Lines()
    loaded = load(environ={f"SPOE_GUARD_{name.upper()}": value for name, value in settings.items()})
    with handover_place(loaded.settings, environ, lines.log(), workers=workers) as place:
        mode = None if place is None else stat.S_IMODE(place.stat().st_mode)
    return place, mode, [(line["event"], line["detail"]) for line in lines.logged]


@pytest.fixture
def known(tmp_path):
    """What systemd and a login say."""
    for name in ("service", "other", "user"):
        (tmp_path / name).mkdir(mode=0o755)
    return {"RUNTIME_DIRECTORY": f"{tmp_path}/service:{tmp_path}/other", "XDG_RUNTIME_DIR": f"{tmp_path}/user"}


def test_the_settings_come_first_then_systemd_then_the_user(known, tmp_path):
    shared = {"share_listen": "true"}
    assert found(known, handover_dir=f"{tmp_path}/own", **shared) == (tmp_path / "own", 0o700, [])
    assert found(known, **shared) == (tmp_path / "service/handover", 0o700, [])
    del known["RUNTIME_DIRECTORY"]
    assert found(known, **shared) == (tmp_path / "user/spoe-guard", 0o700, [])


@pytest.mark.parametrize("environ", [{}, {"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": "run/user"}])
def test_with_none_of_them_nothing_is_handed_over_and_that_is_said(environ, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place, _, [(event, detail)] = found(environ, share_listen="true")
    assert (place, event) == (None, "no_handover")
    assert detail.startswith("there is no place for it: set handover_dir, ")
    assert list(tmp_path.iterdir()) == []  # no name in a folder of all that others could guess


def test_one_that_cannot_be_used_is_said_and_no_other_is_taken(known, tmp_path):
    (tmp_path / "own").mkdir(mode=0o755)
    reason = f"{tmp_path}/own: others may use it: its mode is 0755, expected 0700"
    assert found(known, share_listen="true", handover_dir=f"{tmp_path}/own") == (None, None, [("no_handover", reason)])


def test_a_guard_that_shares_nothing_needs_none(known, tmp_path):
    assert found(known) == (None, None, [])
    assert found(known, handover_dir=f"{tmp_path}/own") == (None, None, [])
    assert not (tmp_path / "own").exists()


def test_workers_have_one_among_themselves_that_goes_with_them(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place, mode, said = found({}, workers=True)
    assert (place.parent, mode, said) == (tmp_path, 0o700, [])
    assert not place.exists()
    place, mode, [(event, detail)] = found({}, workers=True, share_listen="true")
    assert (place.parent, mode, event) == (tmp_path, 0o700, "no_handover")  # by another guard
    assert detail.startswith("there is no place for it")


def test_workers_without_any_place_serve_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    place, _, said = found({}, workers=True)
    assert (place, said) == (None, [("no_handover", f"among workers: {tmp_path}/none: No such file or directory")])


def test_workers_use_the_one_there_is(known, tmp_path):
    assert found(known, workers=True) == (tmp_path / "service/handover", 0o700, [])
