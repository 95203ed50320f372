"""Requests of the members room's routes."""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from mainstay.web.roles import Role

_Name = Annotated[str, msgspec.Meta(max_length=400)]
_Features = Annotated[Sequence[Annotated[str, msgspec.Meta(max_length=64)]], msgspec.Meta(max_length=32)]


class InviteRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """Who is invited, and with which role; features are for staff."""

    email: Annotated[str, msgspec.Meta(min_length=1, max_length=320)]
    role: Role
    features: _Features | None = None


class AcceptRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The token of the letter; name and password for a new account, the password for one that there is."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    name: _Name | None = None
    password: Annotated[str, msgspec.Meta(max_length=4_096)] | None = None


class RoleRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The role that a member shall have, and features where that is staff; `dryRun` only tells what would change."""

    role: Role
    features: _Features | None = None
    dry_run: bool = False


class FeaturesRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """All the features that a member of the staff shall have."""

    features: _Features


class DepartmentRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The name of a department."""

    name: _Name


class CompanyChange(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """What shall change of the company; a limit that is null is the service's again."""

    name: _Name | msgspec.UnsetType = msgspec.UNSET
    session_idle_minutes: int | None | msgspec.UnsetType = msgspec.UNSET
    session_lifetime_hours: int | None | msgspec.UnsetType = msgspec.UNSET
