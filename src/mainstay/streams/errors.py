"""What can go wrong with streams."""

from mainstay.kernel.errors import Conflict, NotFound


class StreamNotFound(NotFound):
    """There is no such stream here."""


class TooManyStreams(Conflict):
    """The company has as many streams as it may."""


class SecretsLost(Conflict):
    """The secret that signs was sealed under a master secret that is not here any more; make another stream."""


class BackfillRunning(Conflict):
    """A backfill of this stream is running."""


class TooMuchAside(Conflict):
    """As many events of this stream are put aside as may be: send them again, or forget them."""
