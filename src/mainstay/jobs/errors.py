"""What the engine refuses."""

from mainstay.kernel.errors import Conflict, Invalid, NotFound


class JobNotFound(NotFound):
    """There is no such job in that state."""

    code = "job-not-found"


class QueueNotFound(NotFound):
    """There is no such queue."""

    code = "queue-not-found"


class JobRefused(Invalid):
    """The job cannot be stored as it was given."""

    code = "job-refused"


class RedriveRefused(Conflict):
    """An unfinished job with the same dedupe key stands in the way."""

    code = "redrive-refused"


class LeaseLost(Exception):
    """The job is no longer this claim's: its lease ended, so this transaction must not commit."""
