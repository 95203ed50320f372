"""A company moves: new events go to the new region, the old ones stay, keys work as before."""

import json
from datetime import timedelta

import httpx
import msgspec

from mainstay import identity, plans, templates
from mainstay.cli import queries
from mainstay.kernel.addresses import AllowList
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Sql
from tests.architecture.sources import declared_tables
from tests.regions.conftest import AWAY, Two, open_company, running_worker, until
from tests.regions.test_command_line import command
from tests.regions.test_global import ask
from tests.regions.test_residency import is_quiet
from tests.tenancy import OPERATOR, Tenancy, test_settings

EVENTS = "/v1/key/workspace/events"
_KEYS = Sql("test.keys", "select id::text, data_region from mainstay.api_keys where company_id = $1")


async def send(api: httpx.AsyncClient, company: Tenancy, action: str) -> httpx.Response:
    return await api.post(EVENTS, json={"action": action}, headers=company.auth)


async def test_new_events_go_to_the_new_region_and_the_old_ones_stay(
    two: Two, api: httpx.AsyncClient, us_company: Tenancy
) -> None:
    first = await send(api, us_company, "before")
    ran = await command(two, "companies", "move-region", us_company.company_id, "eu", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["dataRegion"] == "EU"
    # A node that remembers where the key was says so, until it has forgotten.
    answers = []

    async def is_stored() -> bool:
        answers.append(await send(api, us_company, "after"))
        return answers[-1].status_code == 201

    await until(is_stored)
    assert {answer.status_code for answer in answers[:-1]} <= {503}
    second = answers[-1].json()
    assert (first.json()["dataRegion"], second["dataRegion"], second["seq"]) == ("US", "EU", 1)
    assert await two.home.rows(_KEYS, us_company.company_id) == []
    assert {row["data_region"] for row in await two.eu.rows(_KEYS, us_company.company_id)} == {"EU"}
    here = (await api.get(EVENTS, headers=us_company.auth)).json()["data"]
    assert [one["action"] for one in here] == ["after"]
    everywhere = (await ask(api, us_company))["data"]
    assert [one["action"] for one in everywhere] == ["after", "before"]
    async with running_worker(two.home_url, two.eu_url):
        await until(lambda: is_quiet(two.home))
        await until(lambda: is_quiet(two.eu))
    moved = Sql("test.moved", "select payload from mainstay.events where company_id = $1 and action = 'company.moved'")
    payload = json.loads(await two.eu.value(moved, us_company.company_id))
    assert (payload["from"], payload["to"]) == ("US", "EU")
    ran = await command(two, "verify", "--company", us_company.company_id, "--all", "--json")
    assert ran.code == 0, ran.err
    assert any("(US)" in json.loads(line)["name"] for line in ran.out.splitlines())


def test_of_every_table_of_a_region_it_is_said_what_a_move_does() -> None:
    regional = {table.name: table for table in declared_tables() if table.info["scope"] == "regional"}
    of_companies = {name for name, table in regional.items() if "company_id" in table.c}
    ways = [
        set(queries.MOVES),
        set(queries.GOES_BY_ITSELF),
        set(queries.STAYS),
        {"endpoints", "streams", "archive_days", "function_runs", "function_gathers"},
    ]
    assert set.union(*ways, set(queries.REFUSES)) == of_companies | {"erasures"}
    assert sum(map(len, ways)) + len({"erasures"}) == len(of_companies)
    assert all(len(reason) > 20 for reason in queries.REFUSES.values())
    # Parents before children, so that no row is put before what it refers to.
    for place, name in enumerate(queries.MOVES):
        parents = {key.column.table.name for key in regional[name].foreign_keys}
        assert parents <= set(queries.MOVES[:place])


async def test_settings_go_along_and_hold_where_the_company_is(
    two: Two, api: httpx.AsyncClient, us_company: Tenancy
) -> None:
    await _set_up(two.home, us_company)
    gone_by_then = {"made_once", "company_jobs"}
    for region, db, left in (("EU", two.eu, two.home), ("US", two.home, two.eu)):
        ran = await command(two, "companies", "move-region", us_company.company_id, region)
        assert ran.code == 0, ran.err
        there = {name for name in queries.MOVES if await _count(db, name, us_company)}
        assert there == {*queries.MOVES} - gone_by_then
        assert not [name for name in queries.MOVES if await _count(left, name, us_company)]
        assert [await _count(one, "legal_holds", us_company) for one in (db, left)] == [1, 1]
        target = await db.row(Sql("t", "select id::text, sealed from mainstay.threshold_targets"))
        assert target is not None
        sealed = Keyring(test_settings(two.eu_url).secret, ()).open(target["sealed"], target["id"].encode())
        assert json.loads(sealed)["to"] == "ops@example.com"

        async def is_refused() -> bool:
            answer = await send(api, us_company, "doc.opened")
            assert answer.status_code in (201, 422, 503)
            return answer.status_code == 422 and "project" in answer.text

        await until(is_refused)


async def _set_up(db: Database, company: Tenancy) -> None:
    rules = templates.Rules(project_required=True)
    target = {"kind": "email", "to": "ops@example.com"}
    given = {"meter": "events", "kind": "soft", "unit": "percentage", "amount": 80, "targets": [target]}
    new = msgspec.convert(given, plans.NewThreshold)
    async with db.begin() as tx:
        made = await templates.create(tx, OPERATOR, company.company_id, templates.NewTemplate(name="t", rules=rules))
        await templates.assign(tx, OPERATOR, company.company_id, str(made["id"]), company.workspace_id)
        schema = templates.NewSchema(action="a", schema={"type": "object"})
        await templates.create_schema(tx, OPERATOR, company.company_id, None, schema)
        keyring = Keyring(test_settings("postgresql://x").secret, ())
        await plans.add_threshold(tx, OPERATOR, company.company_id, new=new, keyring=keyring, allow=AllowList())
        for statement in (
            """insert into mainstay.saved_filters (id, company_id, person_id, name, filters)
               values (gen_random_uuid(), $1, gen_random_uuid(), 'mine', '{"action": "a"}')""",
            "insert into mainstay.event_types (company_id, name, created_by) values ($1, 'doc.opened', '{}')",
            """insert into mainstay.legal_holds (id, company_id, scope, reason, set_by)
               values (gen_random_uuid(), $1, 'company', 'case', '{}')""",
        ):
            await tx.run(Sql("t", statement), company.company_id)


async def _count(db: Database, table: str, company: Tenancy) -> int:
    return int(
        await db.value(Sql("t", f"select count(*) from mainstay.{table} where company_id = $1"), company.company_id)
    )


async def test_a_company_with_settings_behind_is_not_moved(
    two: Two, api: httpx.AsyncClient, us_company: Tenancy
) -> None:
    body = {"url": "http://127.0.0.1:9/", "events": ["*"], "isActive": True}
    made = await api.post("/v1/key/company/webhooks", json=body, headers=us_company.company_auth)
    ran = await command(two, "companies", "move-region", us_company.company_id, "EU")
    assert (ran.code, "1 endpoints" in ran.err, "make them again" in ran.err) == (1, True, True)
    assert (await send(api, us_company, "still")).json()["dataRegion"] == "US"
    await api.delete(f"/v1/key/company/webhooks/{made.json()['id']}", headers=us_company.company_auth)
    day = """insert into mainstay.archive_days (company_id, workspace_id, day, data_region, first_seq, last_seq)
             values ($1, $2, current_date, 'US', 1, 1)"""
    await two.home.run(Sql("t", day), us_company.company_id, us_company.workspace_id)
    body = {"actorId": "u", "reason": "asked"}
    asked = await api.post("/v1/key/company/erasures", json=body, headers=us_company.company_auth)
    ran = await command(two, "companies", "move-region", us_company.company_id, "EU")
    assert (ran.code, "1 erasures, 1 archive_days" in ran.err, "--leave-archive" in ran.err) == (1, True, True)
    assert (await command(two, "companies", "move-region", us_company.company_id, "APAC")).code == 0
    ended = Sql("t", "update mainstay.erasures set state = 'completed' where id = $1")
    await two.home.run(ended, asked.json()["id"])
    move = ("companies", "move-region", us_company.company_id, "EU")
    assert (await command(two, *move, "--leave-archive")).code == 0
    for region in ("mars", "us "):
        assert (await command(two, "companies", "move-region", us_company.company_id, region)).code == 2


async def test_nothing_changes_while_the_new_region_is_away(two: Two, us_company: Tenancy) -> None:
    ran = await command(two, "companies", "move-region", us_company.company_id, "EU", eu_url=AWAY)
    assert ran.code == 1
    company = await identity.get_company(two.home, us_company.company_id)
    assert company.data_region == "US"
    assert len(await two.home.rows(_KEYS, us_company.company_id)) == 3


async def test_a_move_that_was_cut_off_is_ended_by_the_next_and_revives_no_key(two: Two) -> None:
    company = await open_company(two.regions, "EU")
    # As if the old region's commit had been lost: the keys stand in both databases, and one was revoked in one.
    for row in await two.eu.rows(Sql("test.all", "select to_jsonb(k)::text from mainstay.api_keys k")):
        copy = "insert into mainstay.api_keys select (jsonb_populate_record(null::mainstay.api_keys, $1::jsonb)).*"
        await two.home.run(Sql("test.copy", copy), row[0])
    async with two.home.begin() as tx:
        await identity.revoke_key(tx, OPERATOR, company.company_id, company.key_id)
    await identity.move_company(two.regions, OPERATOR, company.company_id, "EU")
    assert await two.home.rows(_KEYS, company.company_id) == []
    found = await identity.get_key(two.eu, company.company_id, company.key_id)
    assert found.revoked_at is not None
    async with two.eu.begin() as tx:
        made = await identity.rotate_key(
            tx, OPERATOR, company.company_id, company.company_key_id, overlap=timedelta(0), home=two.home
        )
    assert made.record.replaces == company.company_key_id
