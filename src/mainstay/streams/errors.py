"""What can go wrong with streams."""

from mainstay.kernel.errors import Conflict, NotFound


class StreamNotFound(NotFound):
    """There is no such stream here."""


class TooManyStreams(Conflict):
    """The company has as many streams as it may."""


class BackfillRunning(Conflict):
    """A backfill of this stream is running."""
