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


class FigureRefused(Invalid):
    """The figure is outside its bounds."""

    code = "figure-refused"


class LeaseLost(Exception):
    """The job is no longer this claim's: its lease ended, so this transaction must not commit."""


class KindNotFound(NotFound):
    """There is no such kind of job."""

    code = "kind-not-found"


class TestRunNotFound(NotFound):
    """There is no such run by hand."""

    code = "test-run-not-found"
    __test__ = False


class BulkActNotFound(NotFound):
    """There is no such bulk act."""

    code = "bulk-act-not-found"


class BulkActOver(Conflict):
    """The bulk act has come to its end already."""

    code = "bulk-act-over"


class ScheduleNotFound(NotFound):
    """There is no such schedule."""

    code = "schedule-not-found"
