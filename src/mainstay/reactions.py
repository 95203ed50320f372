"""Who listens to what: the only list of announcement -> reaction.

Every announcement is also recorded in the audit log, except how a delivery ended: an event of that would be delivered
in its turn, and a receiver that fails would feed itself (D-04). Nor is each failed attempt of a job, whose end is on
record as `job.died`. Reactions and record happen in the database of the
company's region: what home announces of a company whose data live elsewhere is handed on to the relay of that database.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

from mainstay import accounts, archive, events, functions, identity, templates, webhooks
from mainstay.events import Place
from mainstay.kernel import outbox
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection, Database, Tx
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.outbox import Announcement, Reaction, Relay
from mainstay.kernel.regions import Regions

_OPENED = "workspace.opened"


def reactions_on(
    home: Database, db: Database, registry: functions.Registry | None = None, keyring: Keyring | None = None
) -> Mapping[str, Sequence[Reaction]]:
    """Who reacts to what is announced in one of the databases; what concerns a function is sent to it as an event.

    Letters are written with a keyring, which seals them.
    """
    retention = Retention(home, is_home=db is home)
    found: dict[str, list[Reaction]] = {
        "template.assigned": [retention.follow],
        "template.unassigned": [retention.follow],
        "template.changed": [retention.follow_all],
    }
    if keyring is not None:
        telling = Telling(home, keyring, is_home=db is home)
        for name in accounts.MFA_CHANGES:
            found.setdefault(name, []).append(telling.tell_of_mfa)
    for name in sorted(registry.event_names()) if registry is not None else ():
        found.setdefault(name, []).append(send_to_functions)
    return found


async def send_to_functions(tx: Tx, fact: Announcement) -> None:
    """The fact is an event for functions, once, under its own id."""
    event = {
        "name": fact.name,
        "data": dict(fact.data),
        "user": {"kind": fact.actor.kind, "id": fact.actor.id},
        "id": f"announcement/{fact.id}",
        "ts": round(fact.at.timestamp() * 1000),
    }
    await functions.send(tx, [event], company_id=fact.company_id)


def relay_of(
    regions: Regions, db: Database, registry: functions.Registry | None = None, keyring: Keyring | None = None
) -> Relay:
    """The relay of what is announced in one of the databases."""
    reactions = reactions_on(regions.home, db, registry, keyring)
    if regions.are_one:
        return Relay(db, reactions, record)
    if db is regions.home:
        return Relay(db, reactions, record, HandingOn(regions).hand_on)
    return Relay(db, reactions, Recording(regions.home, regions.names_on(db)).record)


class Retention:
    """Keeps the retention that templates ask for their workspaces, at home, where archiving reads it."""

    def __init__(self, home: Database, *, is_home: bool) -> None:
        self._home = home
        self._is_home = is_home

    async def follow(self, tx: Tx, fact: Announcement) -> None:
        """The workspace's retention is what its templates say now."""
        if fact.data["retentionDays"] is not None:
            await self._settle(tx, fact, [str(fact.data["workspaceId"])])

    async def follow_all(self, tx: Tx, fact: Announcement) -> None:
        """The same for every workspace of a template whose days were changed."""
        if fact.data["retentionDays"] != fact.data["retentionDaysBefore"] and fact.company_id is not None:
            template_id = str(fact.data["templateId"])
            await self._settle(tx, fact, await templates.workspaces_of(tx, fact.company_id, template_id))

    async def _settle(self, tx: Tx, fact: Announcement, workspace_ids: Sequence[str]) -> None:
        company_id = str(fact.company_id)
        wanted = {one: await templates.retention_days_of(tx, company_id, one) for one in workspace_ids}
        async with nullcontext(tx) if self._is_home else self._home.begin() as home:
            for workspace_id, days in wanted.items():
                await archive.override_retention(home, fact.actor, company_id, workspace_id, days=days)


class Telling:
    """Writes the letters that tell people of what was done to their accounts; people and letters are at home."""

    def __init__(self, home: Database, keyring: Keyring, *, is_home: bool) -> None:
        self._home = home
        self._keyring = keyring
        self._is_home = is_home

    async def tell_of_mfa(self, tx: Tx, fact: Announcement) -> None:
        """The person has a letter on their second factor, from one of their companies."""
        if fact.data["tellPerson"]:
            async with nullcontext(tx) if self._is_home else self._home.begin() as home:
                await accounts.tell_of_mfa(
                    home, self._keyring, fact.name, person_id=str(fact.data["personId"]), fact_id=fact.id
                )


async def record(tx: Tx, facts: Sequence[Announcement]) -> None:
    """Each fact is an event in the system workspace of its company, or of the operator."""
    facts = [fact for fact in facts if _is_recorded(fact)]
    if facts:
        await events.record(tx, facts, await _places_of(tx, facts))


class Recording:
    """Records what is announced in the database of regions, which lists neither companies nor workspaces."""

    def __init__(self, home: Database, names: Sequence[str]) -> None:
        self._home = home
        self._names = names

    async def record(self, tx: Tx, facts: Sequence[Announcement]) -> None:
        """Each fact is an event here; a workspace that was opened, and the company's own, have their chains here."""
        facts = [fact for fact in facts if _is_recorded(fact)]
        if not facts:
            return
        places = await _places_of(self._home, facts, within=self._names)
        opened = [(str(fact.data["workspaceId"]), str(fact.company_id)) for fact in facts if fact.name == _OPENED]
        own = {place.workspace_id: (place.workspace_id, place.company_id, False) for place in places.values()}
        starts = [*own.values(), *((workspace, company, True) for workspace, company in opened if workspace not in own)]
        await events.start_chains(tx, sorted(starts))
        await events.record(tx, facts, places)


class HandingOn:
    """Takes from home what was announced of companies whose data live in other databases."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions

    async def hand_on(self, tx: Tx, facts: Sequence[Announcement]) -> dict[str, Exception | None]:
        """The ids of the facts that are not home's: None where another relay has them now, or what was in the way.

        A crash before the commit hands them on again, under the same ids. Home keeps no chain for their workspaces.
        """
        companies = sorted({fact.company_id for fact in facts if fact.company_id is not None})
        if not companies:
            return {}
        region_of = {one.company_id: one.region for one in await identity.system_workspaces(tx, companies)}
        theirs: dict[str, list[Announcement]] = {}
        for fact in facts:
            region = region_of.get(fact.company_id or "")
            if region is not None and not self._regions.is_home(region):
                theirs.setdefault(region, []).append(fact)
        outcome: dict[str, Exception | None] = {}
        for their, some in theirs.items():
            away: Exception | None = None
            try:
                await outbox.accept(self._regions.of(their), some)
                opened = [str(fact.data["workspaceId"]) for fact in some if fact.name == _OPENED]
                await events.drop_empty_chains(tx, opened)
            except Unavailable as error:
                away = error
            outcome |= {fact.id: away for fact in some}
        return outcome


async def _places_of(
    home: Connection, facts: Sequence[Announcement], within: Sequence[str] = ()
) -> dict[str | None, Place]:
    """Where each company's acts are events; tagged with a region of those given, where the company has moved on."""
    companies = {fact.company_id for fact in facts if fact.company_id is not None}
    places: dict[str | None, Place] = {}
    for one in await identity.system_workspaces(home, sorted(companies)):
        region = one.region if one.region in within or not within else within[0]
        places[one.company_id] = Place(one.id, one.company_id, region, None)
    places[None] = places[identity.OPERATOR_COMPANY]
    return places


def _is_recorded(fact: Announcement) -> bool:
    is_delivery_outcome = fact.name == "job.died" and fact.data.get("queue") == webhooks.QUEUE
    return fact.name != "admin/job.failed" and not is_delivery_outcome
