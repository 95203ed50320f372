"""The table of limits: whose figures hold, and under which keys calls are counted."""

from datetime import timedelta

import pytest

from mainstay.kernel.settings import SettingsError
from mainstay.limits.policies import TABLE, closed_of, counter_key, policies_of
from mainstay.web.limiting import Whose
from tests.tenancy import test_settings

_URL = "postgresql://nobody@127.0.0.1/none"
_WHOSE = Whose("192.0.2.7", "/api/v1/company/usage", "company", "person")


def _figures(**given: str) -> dict[str, tuple[int | None, float, str]]:
    found = policies_of(test_settings(_URL, **{"RATE_LIMITS": "", **given}))
    return {name: (one.allowance, one.window.total_seconds(), one.set_by) for name, one in found.items()}


@pytest.mark.contract("DR-RL-07")
def test_one_table_names_the_documented_limits_and_a_setting_changes_their_figures() -> None:
    documented = {one.documented: (one.allowance, one.window) for one in TABLE if one.documented}
    minute = timedelta(minutes=1)
    assert documented == {
        "LOGIN": (5, timedelta(minutes=15)),
        "CREDIT_CHARGE": (10, minute),
        "REFUND": (5, minute),
        "PURGE": (3, timedelta(hours=1)),
        "FILE_UPLOAD": (20, minute),
        "STRIPE_WEBHOOK": (100, minute),
    }
    changed = _figures(RATE_LIMITS="CREDIT_CHARGE=2/30, LOGIN=7/60,invites=50/60")
    assert changed["credit_charge"] == (2, 30.0, "setting")
    assert changed["login_failures"] == (7, 60.0, "setting")
    assert changed["invites"] == (50, 60.0, "setting")
    assert changed["login"] == (5, 60.0, "default")


def test_a_setting_speaks_of_every_limit_and_of_one_more_closely() -> None:
    lifted = _figures(RATE_LIMITS="login=20/60,all=none")
    assert lifted.pop("login") == (20, 60.0, "setting")
    assert {allowance for allowance, _, _ in lifted.values()} == {None}


def test_the_general_limit_has_a_setting_of_its_own() -> None:
    assert _figures()["general"] == (100, 60.0, "default")
    assert _figures(RATE_LIMIT_GENERAL="20")["general"] == (20, 60.0, "setting")


@pytest.mark.parametrize("given", ["logins=1/1", "general", "general=7", "general=0/60", "general=x/60", "=1/60"])
def test_what_is_no_limit_ends_the_start_without_telling_values(given: str) -> None:
    with pytest.raises(SettingsError, match="RATE_LIMITS") as refused:
        _figures(RATE_LIMITS=given)
    assert given == "general" or given not in str(refused.value)


def test_a_limit_that_is_closed_but_none_ends_the_start_without_telling_values() -> None:
    with pytest.raises(
        SettingsError, match="RATE_LIMIT_CLOSED names what is no limit; there are general, login"
    ) as told:
        _figures(RATE_LIMIT_CLOSED="purge,refunds")
    assert "refunds" not in str(told.value)
    closed = closed_of(test_settings(_URL, RATE_LIMIT_CLOSED="purge,LOGIN,Credit_Charge"))
    assert closed == {"purge", "login_failures", "credit_charge"}


@pytest.mark.parametrize(
    ("policy", "whose", "key"),
    [
        ("general", _WHOSE, "throttle:company:192.0.2.7:/api/v1/company/usage"),
        ("login", Whose("192.0.2.7", "/api/v1/auth/login:POST"), "throttle:anon:192.0.2.7:/api/v1/auth/login:POST"),
        ("login_failures", Whose("192.0.2.7", "/x"), "throttle:ip:192.0.2.7:login_failures"),
        ("purge", _WHOSE, "throttle:user:person:purge"),
        ("codes", Whose("192.0.2.7", "/x"), "throttle:ip:192.0.2.7:codes"),
        ("stripe_webhook", _WHOSE, "throttle:ip:192.0.2.7:stripe_webhook"),
    ],
)
def test_calls_are_counted_under_the_documented_keys(policy: str, whose: Whose, key: str) -> None:
    assert counter_key(policies_of(test_settings(_URL))[policy], whose) == key
