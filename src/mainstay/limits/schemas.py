"""What the routes of limits take and answer."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from mainstay.kernel.db import Record
from mainstay.limits.overrides import Figures, Mode
from mainstay.web.limiting import SetBy

_Reason = Annotated[str, msgspec.Meta(max_length=2_000)]


class ModeChange(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Whether a limit refuses, only counts whom it would refuse, or does nothing; and why."""

    mode: Mode
    reason: _Reason


class FigureChange(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """So many calls in so many seconds (the limit's own unless given), until then or for good; and why."""

    allowance: int
    window_seconds: int | None = None
    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    reason: _Reason


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class LimitShown(_Answer):
    """One limit as it holds; `allowance` is null where settings lift it."""

    name: str
    documented_name: str | None = Field(description="Its name in the documents, such as CREDIT_CHARGE")
    title: str
    counted_by: str = Field(description="route (company, address and route), user, address or key")
    allowance: int | None
    window_seconds: int
    mode: Mode
    set_by: SetBy
    of: str = Field(description="company where the figures are the company's own, else everybody")
    until: str | None


class LimitOfCompany(LimitShown):
    """One limit of a company, with what it refused of the company's calls on this day (UTC)."""

    refused_today: int
    last_refused_at: str | None


class LimitList(_Answer):
    """Every limit."""

    data: list[LimitShown]


class LimitAnswer(_Answer):
    """One limit."""

    data: LimitShown


class CompanyLimitList(_Answer):
    """The limits of a company that count its calls."""

    data: list[LimitOfCompany]


class RefusedShown(_Answer):
    """How many calls of a company were refused, or in shadow mode would have been; null is nobody known."""

    company_id: str | None
    mode: str
    calls: int
    first_at: str
    last_at: str


class LimitReport(_Answer):
    """Whom a limit refused or would have refused, most calls first; whole hours, up to 1,000 rows."""

    policy: str
    since: str
    companies: int
    calls: int
    data: list[RefusedShown]


def members_of(figures: Figures) -> dict[str, Any]:
    """The members of a limit that is shown."""
    policy = figures.policy
    return {
        "name": policy.name,
        "documented_name": policy.documented,
        "title": policy.title,
        "counted_by": policy.counted,
        "allowance": policy.allowance,
        "window_seconds": int(policy.window.total_seconds()),
        "mode": figures.mode if policy.allowance is not None else "off",
        "set_by": policy.set_by,
        "of": "company" if figures.of_company else "everybody",
        "until": figures.until,
    }


def calls_of(refused: Record | None) -> int:
    """How many calls a row speaks of."""
    return 0 if refused is None else int(refused["calls"])
