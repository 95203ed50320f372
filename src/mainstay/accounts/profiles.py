"""What people read and change of their own account: their name, and a profile of title, phone, time zone, locale."""

import re
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import orjson

from mainstay import identity
from mainstay.accounts.queries import people as rows
from mainstay.kernel import outbox
from mainstay.kernel.db import Connection, Database
from mainstay.kernel.errors import Fault, Invalid, Unauthenticated
from mainstay.web.callers import Caller

FIELDS = ("title", "phone", "timeZone", "locale")
TITLE_MAX_CHARACTERS = 200
_PHONE = re.compile(r"\+?[0-9](?:[0-9 ()./-]{1,30})[0-9]", re.ASCII)
_LOCALE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Account:
    """A person as they see themselves."""

    id: str
    email: str
    name: str
    profile: Mapping[str, str]
    email_confirmed_at: datetime | None
    mfa_enabled_at: datetime | None
    created_at: datetime


async def read_account(db: Connection, person_id: str) -> Account:
    """The person's own account; Unauthenticated where it is gone."""
    row = await rows.read_account_everywhere(db, person_id)
    if row is None:
        raise Unauthenticated
    return Account(
        id=str(row["id"]),
        email=row["email"],
        name=row["name"],
        profile=orjson.loads(row["profile"]),
        email_confirmed_at=row["email_confirmed_at"],
        mfa_enabled_at=row["mfa_enabled_at"],
        created_at=row["created_at"],
    )


async def change_account(
    db: Database, caller: Caller, *, name: str | None, profile: Mapping[str, str | None]
) -> Account:
    """Name and members of the profile are those given (None takes one away), and `user.updated` is announced with what
    changed where something did; Invalid names what is wrong."""
    checked = None if name is None else identity.names.check_name(name)
    wanted = check_profile(profile)
    async with db.begin() as tx:
        before = await read_account(tx, caller.id)
        await rows.change_account_everywhere(tx, caller.id, checked, orjson.dumps(wanted).decode())
        after = await read_account(tx, caller.id)
        changed = [one for one in FIELDS if before.profile.get(one) != after.profile.get(one)]
        if before.name != after.name:
            changed.insert(0, "name")
        if changed:
            data = {"personId": caller.id, "changed": changed}
            await outbox.announce(tx, "user.updated", company_id=caller.company_id, actor=caller.actor, data=data)
            await identity.cached.clear_person(tx, caller.id)
    return after


def check_profile(profile: Mapping[str, str | None]) -> dict[str, str | None]:
    """The members without spaces around them; Invalid names each that is wrong."""
    wanted = {name: None if text is None else text.strip() for name, text in profile.items()}
    faults = [
        Fault(said, f"#/{name}")
        for name, text in wanted.items()
        if text is not None and (said := _fault_of(name, text)) is not None
    ]
    if faults:
        raise Invalid(faults=faults)
    return wanted


def _fault_of(name: str, text: str) -> str | None:
    """What is wrong with a member of the profile, or None."""
    if name == "title" and not (1 <= len(text) <= TITLE_MAX_CHARACTERS and text.isprintable()):
        return f"must be 1 to {TITLE_MAX_CHARACTERS} printable characters"
    if name == "phone" and not _PHONE.fullmatch(text):
        return "must be a phone number of 3 to 33 digits, spaces and dashes, such as +41 44 123 45 67"
    if name == "timeZone" and text not in _time_zones():
        return "must be the name of a time zone, such as Europe/Zurich"
    if name == "locale" and not _LOCALE.fullmatch(text):
        return "must be a language tag, such as en or de-CH"
    return None


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones()) | {"UTC"}
