"""Requests and answers of changes to passwords and addresses, and of letters."""

from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

_Password = Annotated[str, msgspec.Meta(max_length=1_024)]
_Email = Annotated[str, msgspec.Meta(min_length=1, max_length=320)]
_Token = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class PasswordChange(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The current password and the new one; other sessions end unless they are to be kept."""

    current_password: _Password
    new_password: _Password
    keep_other_sessions: bool = False


class AddressRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An email address."""

    email: _Email


class PasswordReset(msgspec.Struct, rename="camel", forbid_unknown_fields=True, kw_only=True):
    """The token of the link in the letter, and the new password."""

    token: _Token
    new_password: _Password


class TokenRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The token of the link in the letter."""

    token: _Token


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class PasswordChanged(_Answer):
    """What changing the password ended."""

    sessions_ended: int


class PasswordAnswer(_Answer):
    """The password is the new one."""

    data: PasswordChanged


class Address(_Answer):
    """An address in the form in which it is kept."""

    email: str


class AddressAnswer(_Answer):
    """The address that was confirmed, or to which a letter goes."""

    data: Address


class Accepted(_Answer):
    """What happens next, if anything; the same for every address."""

    message: str


class AcceptedAnswer(_Answer):
    """The request was taken."""

    data: Accepted


class LetterShown(_Answer):
    """A letter that waits, with its words and link."""

    id: str
    kind: str
    recipient: str
    subject: str
    text: str
    link: str | None
    created_at: str
    expires_at: str | None


class LettersShown(_Answer):
    """How many letters wait, by kind, and in the development profile the newest 50 themselves."""

    waiting: int
    kinds: dict[str, int]
    letters: list[LetterShown] | None = Field(default=None, description="in the development profile alone")


class LettersAnswer(_Answer):
    """The letters that wait."""

    data: LettersShown
