"""Every named limit in one table, and what settings make of their figures. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final, Literal

from mainstay.kernel.settings import Settings, SettingsError
from mainstay.limits.store import Rule
from mainstay.web.limiting import SetBy, Whose

Counted = Literal["route", "user", "address", "key"]
"""What has a counter of its own: company, address and route together; a person; an address; an API key."""

_MINUTE, _HOUR = timedelta(minutes=1), timedelta(hours=1)
EVERY: Final = "all"
"""Stands for every policy in RATE_LIMITS."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A named limit; `documented` is its name in the documents, `allowance` None lifts it."""

    name: str
    title: str
    allowance: int | None
    window: timedelta
    counted: Counted
    documented: str | None = None
    set_by: SetBy = "default"

    @property
    def replaces_general(self) -> bool:
        """Whether calls that it counts are not counted under the general limit too."""
        return self.counted == "route"


GENERAL: Final = "general"
TABLE: Final[tuple[Policy, ...]] = (
    Policy(GENERAL, "calls of people, by route", 100, _MINUTE, "route"),
    Policy("login", "calls of the login", 5, _MINUTE, "route"),
    Policy("register", "calls of the registration", 5, _MINUTE, "route"),
    Policy("login_failures", "failed logins", 5, timedelta(minutes=15), "address", "LOGIN"),
    Policy("codes", "one-time codes tried", 10, timedelta(minutes=10), "user"),
    Policy("letters", "letters asked for, such as a new password", 5, timedelta(minutes=15), "address"),
    Policy("invites", "invitations", 10, _MINUTE, "route"),
    Policy("credit_charge", "charges of credit", 10, _MINUTE, "user", "CREDIT_CHARGE"),
    Policy("refund", "refunds", 5, _MINUTE, "user", "REFUND"),
    Policy("purge", "purges", 3, _HOUR, "user", "PURGE"),
    Policy("file_upload", "files uploaded", 20, _MINUTE, "user", "FILE_UPLOAD"),
    Policy("stripe_webhook", "webhooks from Stripe", 100, _MINUTE, "address", "STRIPE_WEBHOOK"),
    Policy("key_free", "calls of an API key on the plan free", 6_000, _MINUTE, "key"),
    Policy("key_starter", "calls of an API key on the plan starter", 60_000, _MINUTE, "key"),
    Policy("key_growth", "calls of an API key on the plan growth", 600_000, _MINUTE, "key"),
    Policy("key_scale", "calls of an API key on the plan scale", 2_000_000, _MINUTE, "key"),
    Policy("key_enterprise", "calls of an API key on the plan enterprise", 6_000_000, _MINUTE, "key"),
)
_DOCUMENTED: Final[Mapping[str, str]] = {one.documented: one.name for one in TABLE if one.documented}


def policies_of(settings: Settings) -> Mapping[str, Policy]:
    """Every policy by name with the figures that settings give it; SettingsError where those name what is none."""
    if not closed_of(settings) <= {one.name for one in TABLE}:
        raise SettingsError(
            f"RATE_LIMIT_CLOSED names what is no limit; there are {', '.join(one.name for one in TABLE)}"
        )
    return policies_with(settings.rate_limit_general, settings.rate_limits)


def closed_of(settings: Settings) -> frozenset[str]:
    """The names of policies that refuse while their store is away."""
    return frozenset(name_of(name) for name in settings.rate_limit_closed)


def policies_with(general: int, rates: Mapping[str, tuple[int, int] | None]) -> Mapping[str, Policy]:
    """The same from RATE_LIMIT_GENERAL and RATE_LIMITS alone."""
    found = {one.name: one for one in TABLE}
    if general != found[GENERAL].allowance:
        found[GENERAL] = replace(found[GENERAL], allowance=general, set_by="setting")
    unknown = sorted(name for name in rates if name != EVERY and name_of(name) not in found)
    if unknown:
        raise SettingsError(f"RATE_LIMITS names what is no limit; there are {', '.join(found)} and {EVERY}")
    if EVERY in rates:
        found = {name: _with(one, rates[EVERY]) for name, one in found.items()}
    for name, figures in rates.items():
        if name != EVERY:
            found[name_of(name)] = _with(found[name_of(name)], figures)
    return found


def name_of(text: str) -> str:
    """A policy's name from that or from its name in the documents (`LOGIN` is `login_failures`)."""
    return _DOCUMENTED.get(text, text.lower())


def key_policy(plan: str) -> str:
    """The policy that holds the keys of companies on that plan."""
    return f"key_{plan}"


def counter_key(policy: Policy, whose: Whose) -> str:
    """Under which key the store counts: `throttle:{companyId}:{ip}:{route}`, with `anon` where nobody is known yet,
    `throttle:user:{id}:{policy}` or `throttle:ip:{ip}:{policy}` (C-18, C-19)."""
    if policy.counted == "route":
        return f"throttle:{whose.company_id or 'anon'}:{whose.address}:{whose.route}"
    if policy.counted == "user" and whose.user_id:
        return f"throttle:user:{whose.user_id}:{policy.name}"
    return f"throttle:ip:{whose.address}:{policy.name}"


def rule_of(policy: Policy) -> Rule | None:
    """What the store is asked to hold to, or None where the policy is lifted."""
    return None if policy.allowance is None else Rule(policy.name, policy.allowance, policy.window)


def _with(policy: Policy, figures: tuple[int, int] | None) -> Policy:
    if figures is None:
        return replace(policy, allowance=None, set_by="setting")
    allowance, seconds = figures
    return replace(policy, allowance=allowance, window=timedelta(seconds=seconds), set_by="setting")
