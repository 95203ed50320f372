"""What one-time links, letters and the changes that need them refuse."""

from mainstay.kernel.errors import Conflict, Forbidden, Invalid, NotFound, TooManyRequests


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


class PasswordChangedMeanwhile(Conflict):
    """The password was changed at the same moment, or the person was suspended; nothing was done."""

    code = "password-changed-meanwhile"


class TooManyGuesses(TooManyRequests):
    """Too many wrong passwords; wait a few minutes and try again."""

    code = "too-many-tries"


class TooManyLetters(TooManyRequests):
    """Five such letters were written to you within the hour; look for them before you ask for another one."""

    code = "too-many-letters"
