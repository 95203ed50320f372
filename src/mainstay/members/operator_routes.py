"""Whole people over HTTP, for operators."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.members import people
from mainstay.members.shown import person_shown
from mainstay.web.callers import Operator
from mainstay.web.json import Answer, refuse_unknown_query

_AT = "/internal/people"
_ONE = _AT + "/{person_id}"


def add_operator_routes(routes: APIRouter, db: Database, keyring: Keyring) -> None:
    """The routes of whole people are there."""

    @routes.get(_AT, tags=["operators"])
    async def find_people(request: Request, _: Operator, email: Annotated[str, Query(max_length=320)]) -> Answer:
        """The person with that address, or nobody."""
        refuse_unknown_query(request, frozenset({"email"}))
        found = await people.find_person(db, email)
        return Answer({"data": [] if found is None else [person_shown(found)]})

    @routes.get(_ONE, tags=["operators"])
    async def read_person(_: Operator, person_id: str) -> Answer:
        """A person with their companies."""
        return Answer(person_shown(await people.read_person(db, person_id)))

    @routes.post(_ONE + "/suspension", tags=["operators"])
    async def suspend_person(caller: Operator, person_id: str) -> Answer:
        """Suspends the person in every company, at once; keys that they made go on."""
        async with db.begin() as tx:
            return Answer(person_shown(await people.suspend_person(tx, keyring, caller.actor, person_id)))

    @routes.delete(_ONE + "/suspension", tags=["operators"])
    async def restore_person(caller: Operator, person_id: str) -> Answer:
        """Ends the suspension; the person signs in anew."""
        async with db.begin() as tx:
            return Answer(person_shown(await people.restore_person(tx, caller.actor, person_id)))
