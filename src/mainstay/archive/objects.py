"""The object store of each region, opened when it is first needed."""

from mainstay.archive.errors import NoStore
from mainstay.kernel.objects import Objects
from mainstay.kernel.settings import Settings


class Stores:
    """Where the archives of each region are."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: dict[str, Objects | None] = {}

    def find(self, region: str) -> Objects | None:
        """The store of that region; None where none is configured."""
        if region not in self._opened:
            self._opened[region] = Objects.of(self._settings, region)
        return self._opened[region]

    def get(self, region: str) -> Objects:
        """The store of that region, or NoStore."""
        found = self.find(region)
        if found is None:
            raise NoStore
        return found
