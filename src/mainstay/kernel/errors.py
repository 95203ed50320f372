"""Errors that know their HTTP status; the class docstring is the default message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a request: a sentence, and a JSON pointer (`#/actor/id`) or parameter name."""

    detail: str
    pointer: str = "#"


class MainstayError(Exception):
    """Something went wrong on our side."""

    status = 500
    code = "internal"

    def __init__(
        self,
        detail: str | None = None,
        *,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip().split("\n")[0]
        self.faults = tuple(faults)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})
        super().__init__(self.detail)

    @property
    def title(self) -> str:
        """The kind of error in words: the class docstring's first line."""
        return (type(self).__doc__ or self.detail).strip().split("\n")[0]


class Invalid(MainstayError):
    """The request is not valid."""

    status = 400
    code = "invalid"


class Unauthenticated(MainstayError):
    """The credential is missing, unknown, expired or revoked."""

    status = 401
    code = "unauthenticated"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(MainstayError):
    """The credential is known and may not do this."""

    status = 403
    code = "forbidden"


class StepUpRequired(Forbidden):
    """Prove who you are once more first: this needs a password, or a code where MFA is on, given a short while ago."""

    code = "step-up-required"


class KeyRefused(Forbidden):
    """This API key works, and may not be used for this."""

    why: Literal["address", "read_only", "scope"]


class KeyMayOnlyRead(KeyRefused):
    """This key may only read."""

    code = "read-only-key"
    why = "read_only"


class OutsideScopes(KeyRefused):
    """This key is narrowed to other things."""

    code = "outside-scopes"
    why = "scope"


class MfaSetupRequired(Forbidden):
    """Your company demands a second factor: set one up first, at `/api/v1/auth/mfa/setup`."""

    code = "mfa-setup-required"


class CsrfRefused(Forbidden):
    """A request by cookie that changes something must show the session's CSRF token as `x-csrf-token`."""

    code = "csrf-refused"


class NotFound(MainstayError):
    """There is no such thing here."""

    status = 404
    code = "not-found"


class MethodNotAllowed(MainstayError):
    """This path does not take this method."""

    status = 405
    code = "method-not-allowed"


class Conflict(MainstayError):
    """The request meets a state that does not allow it."""

    status = 409
    code = "conflict"


class TooLarge(MainstayError):
    """The request is larger than the stated limit."""

    status = 413
    code = "too-large"


class TooManyRequests(MainstayError):
    """Rate limit exceeded"""

    status = 429
    code = "rate-limited"


class Unprocessable(MainstayError):
    """The request is well formed and cannot be carried out."""

    status = 422
    code = "unprocessable"


class Unavailable(MainstayError):
    """The database does not answer. Try again shortly, with the same Idempotency-Key where one was given."""

    status = 503
    code = "unavailable"

    def __init__(self, detail: str | None = None, *, retry_after_seconds: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})
