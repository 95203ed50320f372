"""What can go wrong with archives."""

from mainstay.kernel.errors import Conflict, NotFound, Unavailable


class DayNotFound(NotFound):
    """There is no archive of this day."""


class NoStore(Unavailable):
    """No object store is configured for this region."""


class Contended(Conflict):
    """Others keep writing this object; try again."""


class ReadBackDiffers(Unavailable):
    """What the object store gives back is not what it was given."""


class Damaged(Exception):
    """An object is not an archive of a day: from `line` on nothing of it can be relied on."""

    def __init__(self, line: int, detail: str) -> None:
        super().__init__(detail)
        self.line = line
        self.detail = detail
