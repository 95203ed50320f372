"""Data regions: which database holds what belongs to a company of a region, and which holds what is everybody's."""

from collections.abc import Callable, Mapping
from typing import Literal, TypeVar, get_args

from mainstay.kernel.db import Database
from mainstay.kernel.settings import Settings

T = TypeVar("T")
Region = Literal["US", "EU", "APAC"]

REGIONS: tuple[Region, ...] = get_args(Region)
"""Every data region there is, in the order in which they are told."""
DEFAULT_REGION: Region = "US"


def own_urls(environment: Mapping[str, str]) -> dict[str, str]:
    """The addresses of the databases that regions have of their own, as an environment names them."""
    home = environment.get("DATABASE_URL", "").strip()
    named = {region: environment.get(f"DATABASE_URL_{region}", "").strip() for region in REGIONS}
    return {region: url for region, url in named.items() if url and url != home}


class Regions:
    """The home database and those that regions have of their own; a region without one lives in the home database."""

    def __init__(self, home: Database, own: Mapping[str, Database]) -> None:
        self.home = home
        self._of: dict[str, Database] = {region: own.get(region, home) for region in REGIONS}

    @classmethod
    def connect(cls, settings: Settings, *, size: int, name: str) -> "Regions":
        """Pools of `size` connections, one a database, none of them opened yet."""
        cache = settings.database_statement_cache
        return cls.at(settings.database_url, settings.region_urls, size=size, statement_cache=cache, name=name)

    @classmethod
    def at(cls, home_url: str, own_urls: Mapping[str, str], *, size: int, statement_cache: int, name: str) -> "Regions":
        """The same for addresses: of home, and of the regions that have databases of their own."""
        pools = {
            url: Database(url, size=size, statement_cache=statement_cache, name=name)
            for url in dict.fromkeys([home_url, *own_urls.values()])
        }
        return cls(pools[home_url], {region: pools[url] for region, url in own_urls.items()})

    def of(self, region: str) -> Database:
        """The database of what belongs to companies of that region; KeyError for what is no region."""
        return self._of[region]

    def all(self) -> list[tuple[str, Database]]:
        """Each database once, home first, with the name of a region served there (`home` where that serves none)."""
        found = {id(self.home): (next(iter(self.names_on(self.home)), "home"), self.home)}
        for region, db in self._of.items():
            found.setdefault(id(db), (region, db))
        return list(found.values())

    def names_on(self, db: Database) -> list[str]:
        """The regions that live in that database."""
        return [region for region, one in self._of.items() if one is db]

    def each(self, make: Callable[[Database], T]) -> dict[str, T]:
        """What `make` gives for the database of every region, made once a database."""
        made = {id(db): make(db) for _, db in self.all()}
        return {region: made[id(db)] for region, db in self._of.items()}

    async def close(self) -> None:
        """Every pool is closed."""
        for _, db in self.all():
            await db.close()

    def is_home(self, region: str) -> bool:
        """Whether the region lives in the home database."""
        return self._of[region] is self.home

    @property
    def are_one(self) -> bool:
        """Whether every region lives in the home database."""
        return all(db is self.home for db in self._of.values())
