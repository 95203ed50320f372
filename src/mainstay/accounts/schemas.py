"""Requests and answers of signing in, sessions and one's own account."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from mainstay.kernel.clock import iso
from mainstay.kernel.db import Record
from mainstay.kernel.regions import Region
from mainstay.web.roles import Role

_Email = Annotated[str, msgspec.Meta(min_length=1, max_length=320)]
_Password = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
_Code = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
_Id = Annotated[str, msgspec.Meta(max_length=36)]
_Text = Annotated[str, msgspec.Meta(max_length=1_000)]


class _Request(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    pass


class RegisterRequest(_Request, kw_only=True):
    """A company, where its data live, and its first owner."""

    company_name: _Text
    data_region: Region = "US"
    name: _Text
    email: _Email
    password: _Password


class LoginRequest(_Request, kw_only=True):
    """Email and password, and the company to act for where the person has several."""

    email: _Email
    password: _Password
    company_id: _Id | None = None


class ChallengeRequest(_Request, kw_only=True):
    """The token of a challenge, and the code of the app or one for recovery."""

    challenge: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    code: _Code


class RefreshRequest(_Request, kw_only=True):
    """The refresh token, where it does not come as a cookie."""

    refresh_token: Annotated[str, msgspec.Meta(max_length=4_096)] | None = None


class StepUpRequest(_Request, kw_only=True):
    """The password, or a code where a second factor is on."""

    password: _Password | None = None
    code: _Code | None = None


class SwitchRequest(_Request, kw_only=True):
    """The company to act for from now on, and the refresh token of this session where it does not come as a cookie."""

    company_id: _Id
    refresh_token: Annotated[str, msgspec.Meta(max_length=4_096)] | None = None


class ProfileRequest(_Request, kw_only=True):
    """What is to change; null takes a member of the profile away."""

    name: _Text | msgspec.UnsetType = msgspec.UNSET
    title: _Text | None | msgspec.UnsetType = msgspec.UNSET
    phone: _Text | None | msgspec.UnsetType = msgspec.UNSET
    time_zone: _Text | None | msgspec.UnsetType = msgspec.UNSET
    locale: _Text | None | msgspec.UnsetType = msgspec.UNSET


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class PersonShown(_Answer):
    """A person as their company sees them."""

    id: str
    email: str
    name: str
    role: Role


class CompanySignedInto(_Answer):
    """The company for which a session acts."""

    id: str
    name: str
    slug: str
    data_region: Region
    plan: str
    created_at: str


class TokensAnswer(_Answer):
    """Tokens of a session: access for 15 minutes, a refresh that is good once. They come as cookies, too, and then
    `csrfToken` goes with each request that changes something, as `x-csrf-token`."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105
    expires_in: int
    refresh_token: str
    refresh_expires_at: str
    csrf_token: str
    session_id: str


class LoginAnswer(TokensAnswer):
    """The same with their holder and the company for which they act; `mfaSetupRequired` where that company demands a
    second factor first, and how many recovery codes are left where one was used."""

    person: PersonShown
    company: CompanySignedInto
    mfa_setup_required: bool = False
    recovery_codes_left: int | None = None
    warning: str | None = None


class ChallengeAnswer(_Answer):
    """The password was right; a code is asked for at `/api/v1/auth/mfa/challenge`."""

    mfa_required: Literal[True] = True
    challenge: str
    expires_in: int


class CompanyChoice(_Answer):
    """A company in which the person may act."""

    id: str
    name: str
    slug: str
    role: Role


class AccountShown(_Answer):
    """A person's own account."""

    id: str
    email: str
    email_confirmed: bool
    name: str
    title: str | None
    phone: str | None
    time_zone: str | None
    locale: str | None
    mfa_enabled: bool
    created_at: str


class MeAnswer(AccountShown):
    """The same with who they are in the company of this session, and what they may do there."""

    company_id: str
    role: Role
    features: list[str]
    acts: list[str]
    companies: list[CompanyChoice]
    session_id: str
    is_fresh: bool
    mfa_setup_required: bool
    csrf_token: str


class SessionShown(_Answer):
    """A session: at the console or the API, on which device, from where, for which company, and since when."""

    id: str
    kind: Literal["console", "api"]
    device: str
    address: str
    company_id: str
    company_name: str
    second_factor: bool
    created_at: str
    last_used_at: str
    expires_at: str
    is_current: bool


class SessionList(_Answer):
    """The person's sessions that work, newest first: 100 at most."""

    data: list[SessionShown]


class EndedAnswer(_Answer):
    """How many sessions ended."""

    ended: int


def person_shown(member: Record) -> PersonShown:
    """The member as answers show them."""
    return PersonShown(
        id=str(member["person_id"]), email=member["email"], name=member["person_name"], role=member["role"]
    )


def company_shown(member: Record) -> CompanySignedInto:
    """The member's company as answers show it."""
    return CompanySignedInto(
        id=str(member["id"]),
        name=member["name"],
        slug=member["slug"],
        data_region=member["data_region"],
        plan=member["plan"],
        created_at=iso(member["created_at"]),
    )


def choices_shown(members: Sequence[Record]) -> list[CompanyChoice]:
    """The companies of a person as answers show them."""
    return [CompanyChoice(id=str(m["id"]), name=m["name"], slug=m["slug"], role=m["role"]) for m in members]
