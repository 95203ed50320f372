"""What the mfa room refuses."""

from mainstay.kernel.errors import Conflict, Fault, Forbidden, Invalid, NotFound, TooManyRequests, Unauthenticated


class WrongCode(Unauthenticated):
    """The code is wrong, or was used before."""

    code = "wrong-code"


class CodeRefused(Invalid):
    """The code is wrong, or was used before."""

    code = "wrong-code"

    def __init__(self) -> None:
        wanted = "must be the six digits that the app shows now, or a recovery code that was not used"
        super().__init__(faults=[Fault(wanted, "#/code")])


class ChallengeOver(Unauthenticated):
    """This challenge is over: sign in once more."""

    code = "challenge-over"


class TooManyCodes(TooManyRequests):
    """Too many wrong codes; wait a few minutes and try again."""

    code = "too-many-codes"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(headers={"Retry-After": str(retry_after_seconds)})


class AlreadyOn(Conflict):
    """A second factor is on already; disable it first."""

    code = "mfa-already-on"


class NotSetUp(Conflict):
    """No second factor was set up."""

    code = "mfa-not-set-up"


class NotOn(Conflict):
    """No second factor is on."""

    code = "mfa-not-on"


class PersonNotFound(NotFound):
    """There is no such person here."""


class OwnFactor(Forbidden):
    """Nobody resets their own second factor: disable it with a code, or ask somebody else."""

    code = "own-factor"


class InOtherCompanies(Forbidden):
    """This person belongs to other companies too: only operators may reset their second factor."""

    code = "in-other-companies"
