"""What erasures, holds and jobs of a company may be refused for."""

from mainstay.kernel.errors import Conflict, NotFound


class ErasureNotFound(NotFound):
    """There is no such erasure."""


class HoldNotFound(NotFound):
    """There is no such legal hold."""


class JobNotFound(NotFound):
    """There is no such job."""


class Held(Conflict):
    """A legal hold keeps this data; nothing is erased while it stands."""

    code = "legal-hold"


class TooMany(Conflict):
    """There are as many as a company may have at a time."""


class NoFile(Conflict):
    """The job has no file: it is not completed, its file has expired, or an erasure removed it."""
