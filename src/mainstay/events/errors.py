"""What can go wrong with events."""

from mainstay.kernel.errors import Conflict, NotFound, Unprocessable


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
