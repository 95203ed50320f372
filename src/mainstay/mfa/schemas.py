"""Requests and answers of the mfa room's routes."""

from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

_LONGEST_CODE = 64


class CodeRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A code of the app, or where a factor is on also a recovery code."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_CODE)]


class DemandRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Whether the company demands a second factor, and from which day."""

    required: bool
    since: Annotated[str, msgspec.Meta(max_length=40)] | None = msgspec.field(name="from", default=None)


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class QrShown(_Answer):
    """The address as a QR code: a PNG as `data:` address, and an SVG element."""

    png: str
    svg: str


class SetupAnswer(_Answer):
    """What is shown once; it counts when `verify` took a code."""

    secret: str = Field(description="base32, to be typed where no camera is at hand")
    otpauth_uri: str
    qr: QrShown
    recovery_codes: list[str]


class StateAnswer(_Answer):
    """Whether signing in takes a code."""

    enabled: bool
    enabled_at: str | None
    waiting: bool = Field(description="set up, and not verified yet")
    last_used_at: str | None
    recovery_codes_left: int


class CodesAnswer(_Answer):
    """New recovery codes, shown once."""

    recovery_codes: list[str]


class MemberWithout(_Answer):
    """Somebody who would be locked out."""

    id: str
    name: str
    email: str
    role: str


class DemandShown(_Answer):
    """What the company demands, and whom that locks out; `people` names the first 100."""

    required: bool
    since: str | None = Field(serialization_alias="from")
    members: int
    without_factor: int
    people: list[MemberWithout]


class DemandAnswer(_Answer):
    """What the company demands."""

    data: DemandShown


class ResetShown(_Answer):
    """Whose factor is gone, and how many of their sessions ended."""

    person_id: str
    sessions_ended: int


class ResetAnswer(_Answer):
    """A reset that was done."""

    data: ResetShown
