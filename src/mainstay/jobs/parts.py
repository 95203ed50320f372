"""What every route of this room needs: its database, names in paths, and requests that count once."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
from fastapi import Header, Request

from mainstay.jobs import finding
from mainstay.jobs.errors import JobNotFound
from mainstay.jobs.queries import by_hand
from mainstay.kernel import ids, once
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import REGIONS, Regions
from mainstay.web.callers import Caller

FindRegion = Callable[[str], Awaitable[str | None]]
"""The region of the company of that id; None where there is none."""

OnceKey = Annotated[
    str | None,
    Header(alias=once.HEADER, description="1 to 255 printable ASCII: within 24 hours the request has one effect."),
]
REGION: Final[dict[str, Any]] = {
    "name": "region",
    "in": "query",
    "schema": {"type": "string", "enum": list(REGIONS)},
    "description": "Look at the database of this region instead of the home one.",
}
_OPERATOR: Final = "00000000-0000-7000-8000-000000000000"
_HIGHEST_ID: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes stand on."""

    regions: Regions
    cursors: Cursors
    find_region: FindRegion

    def db_of(self, request: Request) -> Database:
        """The database that the request speaks of: that of `region`, or home."""
        region = request.query_params.get("region")
        if region is None:
            return self.regions.home
        if region not in REGIONS:
            raise Invalid(faults=[Fault(f"must be one of {', '.join(REGIONS)}", "region")])
        return self.regions.of(region)

    async def db_for(self, request: Request, companies: Mapping[str, str]) -> Database:
        """Where jobs of these companies (pointer -> id) belong: the database of their one region; Invalid otherwise."""
        found: dict[str, Database] = {}
        faults = []
        for pointer, company_id in companies.items():
            region = await self.find_region(company_id)
            if region is None:
                faults.append(Fault("there is no such company", pointer))
            else:
                found[pointer] = self.regions.of(region)
        given = self.db_of(request) if "region" in request.query_params or not found else next(iter(found.values()))
        faults += [
            Fault("its data live in another region: ask for that one's jobs by themselves", pointer)
            for pointer, db in found.items()
            if db is not given
        ]
        if faults:
            raise Invalid(faults=faults)
        return given


@dataclass(frozen=True, slots=True)
class Claimed:
    """A request in its transaction, and the jobs of the first one of its key (None: this is the first)."""

    tx: Tx
    request: once.Request | None
    earlier: list[int] | None

    async def made(self, job_ids: Sequence[int]) -> None:
        """Whoever repeats the request is told these jobs."""
        if self.request is not None:
            request_id = ids.new_id()
            await by_hand.remember_everywhere(self.tx, request_id, job_ids)
            await once.made(self.tx, _OPERATOR, self.request, request_id)


async def claim(tx: Tx, caller: Caller, given: str | None, act: str, *asked: Any) -> Claimed:
    """The request under its key, if one is given; OtherContent where its first one asked for something else."""
    key = once.header_key(given)
    if key is None:
        return Claimed(tx, None, None)
    request = once.Request(f"{act}:{caller.id}", key, msgspec.json.encode(asked).decode())
    earlier = await once.claim(tx, _OPERATOR, request)
    return Claimed(tx, request, None if earlier is None else await by_hand.recall_everywhere(tx, earlier))


def kind_named(name: str) -> str:
    """A kind's name that can be asked for: one that cannot be stored is nobody's."""
    return name if finding.is_name(name) else ""


def job_numbered(text: str) -> int:
    """The id in a path; JobNotFound for what is none."""
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > _HIGHEST_ID:
        raise JobNotFound
    return int(text)
