"""What can go wrong with events."""

from mainstay.kernel.errors import Conflict, MainstayError, NotFound, Unprocessable


class EventNotFound(NotFound):
    """There is no such event here."""


class KeyUsedForAnotherEvent(Unprocessable):
    """This idempotency key was used for an event with other content within the last 24 hours."""

    code = "idempotency-mismatch"


class SameKeyInFlight(Conflict):
    """A request with this idempotency key is being stored at this moment; send it again to get its answer."""

    code = "idempotency-in-flight"


class EmptyChain(NotFound):
    """This workspace has no event yet, so there is nothing to sign."""


class TooManyTails(MainstayError):
    """The company follows as many streams as it may."""

    status = 429
    code = "too-many-tails"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "15"})
