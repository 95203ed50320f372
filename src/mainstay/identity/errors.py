"""What the identity room refuses."""

from mainstay.kernel.errors import (
    Conflict,
    Forbidden,
    KeyRefused,
    MainstayError,
    NotFound,
    Unauthenticated,
    Unavailable,
)


class CompanyNotFound(NotFound):
    """There is no such company here."""


class WorkspaceNotFound(NotFound):
    """There is no such workspace here."""


class KeyNotFound(NotFound):
    """There is no such API key here."""


class SlugTaken(Conflict):
    """Another one already has this slug."""

    code = "slug-taken"


class AlreadyMember(Conflict):
    """This person is already a member of the company."""

    code = "already-member"


class KeyNotRotatable(Conflict):
    """Only a key that works and was not rotated before can be rotated."""

    code = "key-not-rotatable"


class BeyondOwnRights(Forbidden):
    """A key cannot give more rights than it has itself."""

    code = "beyond-own-rights"


class KeyAlreadyIssued(Conflict):
    """This request has made its key before, and the secret was shown only then."""

    code = "key-already-issued"


class AddressNotAllowed(KeyRefused):
    """This key may not be used from your network address."""

    code = "address-not-allowed"
    why = "address"


class LoginRefused(Unauthenticated):
    """The email or the password is wrong."""

    code = "login-refused"


class PersonSuspended(Forbidden):
    """This person is suspended."""

    code = "person-suspended"


class TooManyLogins(Unavailable):
    """Too many passwords are being checked at this moment; try again shortly."""

    code = "too-many-logins"


class TooManyTries(MainstayError):
    """Too many wrong passwords; wait a few minutes and try again."""

    status = 429
    code = "too-many-tries"


class SessionOver(Unauthenticated):
    """You are not signed in, or the session is over."""

    code = "session-over"
