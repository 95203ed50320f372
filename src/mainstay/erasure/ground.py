"""What the room stands on."""

from collections.abc import Mapping
from dataclasses import dataclass

from mainstay import archive
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.regions import Regions
from mainstay.kernel.settings import Settings


@dataclass(frozen=True, slots=True)
class Ground:
    """Every database with its events and archives, by the name of its region."""

    regions: Regions
    keyring: Keyring
    archives: Mapping[str, archive.Ground]
    stores: archive.Stores

    def archive_of(self, db: Database) -> archive.Ground:
        """The archives of one database's events."""
        return next(one for one in self.archives.values() if one.db is db)

    def name_of(self, db: Database) -> str:
        """The name of a region that lives in that database."""
        return next(name for name, one in self.regions.all() if one is db)


def ground_of(settings: Settings, regions: Regions, keyring: Keyring) -> Ground:
    """The ground of one process."""
    archives = {name: archive.ground_of(settings, regions, db, keyring) for name, db in regions.all()}
    return Ground(regions, keyring, archives, archive.Stores(settings))
