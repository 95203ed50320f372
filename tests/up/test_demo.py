"""The demonstration company is made once, found again, and its receiver believes nobody without a signature."""

import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from mainstay import accounts, identity, members
from mainstay.cli import demo_company
from mainstay.cli.demo_company import Ground
from mainstay.cli.demo_receiver import Receiver
from mainstay.cli.demo_traffic import Trickle
from mainstay.cli.places import DEMO, Place
from mainstay.cli.ports import free_port
from mainstay.events import schemas
from mainstay.kernel.addresses import parse_allow_list
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.webhooks import endpoints, signing

KEYRING = Keyring("a secret of the demonstration, long enough")


def ground_of(tmp_path: Path, db: Database, *, keyring: Keyring = KEYRING, port: int = 4711) -> Ground:
    return Ground(Place(tmp_path), db, keyring, parse_allow_list("127.0.0.1/32"), port)


async def test_it_is_made_once(tmp_path: Path, db: Database) -> None:
    ground = ground_of(tmp_path, db)
    company = await demo_company.ensure(ground)
    assert await demo_company.ensure(ground) == company
    found = [one for one in await identity.list_companies(db) if one.name == demo_company.NAME]
    assert [one.id for one in found] == [company.company_id]
    workspaces = [one.name for one in await identity.list_workspaces(db, company.company_id) if not one.system]
    assert workspaces == ["production", "staging", "legacy"]
    assert len({person.password for person in company.people}) == 3
    wanted = members.members.Wanted(role="staff")
    staff, _ = await members.members.list_members(db, company.company_id, wanted, after=None, limit=10)
    (one,) = staff
    assert (one.name, set(one.rights.features)) == ("Samira Staff", {"events", "webhooks", "usage"})
    departments, _ = await members.departments.list_departments(db, company.company_id, after=None, limit=10)
    assert [(one.name, one.members) for one in departments] == [("Support", 2)]
    (letter,) = await accounts.letters.list_letters(db)
    assert (letter.kind, letter.recipient.partition("@")[0]) == ("invitation", "new.colleague")


async def test_another_database_gets_a_company_of_its_own_and_so_does_another_master_secret(
    tmp_path: Path, db: Database
) -> None:
    first = await demo_company.ensure(ground_of(tmp_path, db))
    second = await demo_company.ensure(ground_of(tmp_path, db, keyring=Keyring("another secret of sufficient length")))
    assert first.company_id != second.company_id
    assert {person.email for person in first.people}.isdisjoint({person.email for person in second.people})
    stale = msgspec.structs.replace(second, company_id="01900000-0000-7000-8000-000000000000")
    Place(tmp_path).write(DEMO, msgspec.to_builtins(stale))
    assert (await demo_company.ensure(ground_of(tmp_path, db))).company_id not in (first.company_id, stale.company_id)


async def test_endpoints_follow_the_receiver_to_another_port(tmp_path: Path, db: Database) -> None:
    before = await demo_company.ensure(ground_of(tmp_path, db, port=4711))
    after = await demo_company.ensure(ground_of(tmp_path, db, port=4712))
    assert (after.company_id, after.receiver_port) == (before.company_id, 4712)
    async with db.begin() as tx:
        urls = [
            (await endpoints.get(tx, company_id=after.company_id, endpoint_id=endpoint.id))["url"]
            for endpoint in after.endpoints
        ]
    assert urls == [f"http://127.0.0.1:4712/{name}" for name in ("good", "slow", "failing")]


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    made, port = Receiver(), free_port()
    made.secrets = {name: signing.new_secret() for name in ("good", "slow", "failing")}
    await made.open(port)
    yield made, f"http://127.0.0.1:{port}"
    await made.close()


async def post(url: str, secret: str, body: bytes, *, message: str = "m1", age_seconds: int = 0) -> int:
    moment = int(time.time()) - age_seconds
    headers = {
        "webhook-id": message,
        "webhook-timestamp": str(moment),
        "webhook-signature": signing.sign([secret], message, moment, body),
    }
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        return answer.status


async def test_the_receiver_accepts_only_what_was_signed_lately_with_its_secret(
    receiver: tuple[Receiver, str],
) -> None:
    made, url = receiver
    secret = made.secrets["good"]
    assert await post(f"{url}/good", secret, b"{}") == 200
    assert await post(f"{url}/good", secret, b"{}") == 200
    assert await post(f"{url}/good", made.secrets["slow"], b"{}") == 401
    assert await post(f"{url}/good", secret, b"{}", age_seconds=400) == 401
    assert await post(f"{url}/failing", made.secrets["failing"], b"{}") == 500
    assert await post(f"{url}/elsewhere", secret, b"{}") == 404
    tally = made.tallies["good"]
    assert (tally.verified, tally.refused, tally.repeated) == (2, 2, 1)
    assert (made.total().verified, made.total().refused) == (3, 2)


async def test_the_slow_address_takes_its_time(receiver: tuple[Receiver, str]) -> None:
    made, url = receiver
    started = time.monotonic()
    assert await post(f"{url}/slow", made.secrets["slow"], b"{}") == 200
    assert time.monotonic() - started >= 1.0


def test_made_events_are_what_ingest_accepts(tmp_path: Path) -> None:
    company: Any = None
    trickle = Trickle("http://127.0.0.1:1", company, random.Random(1))
    events = [trickle.make_event() for _ in range(200)]
    for event in events:
        schemas.EVENT.decode(msgspec.json.encode(event))
    assert len({event["action"] for event in events}) == 9
