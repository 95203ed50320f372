"""What one-time links, letters and the changes that need them refuse."""

from mainstay.kernel.errors import Conflict, Forbidden, Invalid, NotFound


class LinkOver(Invalid):
    """This link is wrong, was used already or has expired; ask for a new one."""

    code = "link-over"


class WrongPassword(Forbidden):
    """The current password is wrong."""

    code = "wrong-password"


class EmailTaken(Conflict):
    """Somebody else already has this email."""

    code = "email-taken"


class EmailConfirmed(Conflict):
    """This address is confirmed already."""

    code = "email-confirmed"


class LetterNotFound(NotFound):
    """There is no such letter here."""
