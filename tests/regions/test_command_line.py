"""The operator's commands work where the company's region is."""

import asyncio
import json

import httpx

from mainstay.kernel import migrations
from mainstay.kernel.db import Database, Sql
from tests.cli.running import SECRETS, Ran, called
from tests.conftest import cut_database, drop_database
from tests.regions.conftest import AWAY, Two
from tests.tenancy import Tenancy

_KEYS = Sql("test.keys", "select count(*) from mainstay.api_keys where company_id = $1 and revoked_at is null")


async def command(two: Two, *arguments: str, eu_url: str | None = None) -> Ran:
    env = {**SECRETS, "DATABASE_URL": two.home_url, "DATABASE_URL_EU": eu_url or two.eu_url}
    return await asyncio.to_thread(called, *arguments, env=env)


async def test_keys_of_a_company_of_the_eu_are_issued_listed_and_revoked_there(
    two: Two, api: httpx.AsyncClient
) -> None:
    made = await command(two, "companies", "create", "Acme", "--region", "EU", "--workspace", "Production", "--json")
    company = json.loads(made.out)
    issued = await command(two, "keys", "create", "--company", "acme", "--workspace", "production", "--json")
    key = json.loads(issued.out)
    assert (await two.eu.value(_KEYS, company["id"]), await two.home.value(_KEYS, company["id"])) == (1, 0)
    headers = {"authorization": f"Bearer {key['secret']}"}
    stored = await api.post("/v1/key/workspace/events", json={"action": "a"}, headers=headers)
    assert (stored.status_code, stored.json()["dataRegion"]) == (201, "EU")
    listed = await command(two, "keys", "list", "--company", "acme", "--json")
    assert json.loads(listed.out)["id"] == key["id"]
    assert (await command(two, "keys", "revoke", key["id"])).code == 0
    assert (await api.post("/v1/key/workspace/events", json={"action": "a"}, headers=headers)).status_code == 401


async def test_verify_reads_the_chains_of_the_region(two: Two, api: httpx.AsyncClient, eu_company: Tenancy) -> None:
    for _ in range(3):
        await api.post("/v1/key/workspace/events", json={"action": "a"}, headers=eu_company.auth)
    ran = await command(two, "verify", "--company", eu_company.company_id, "--all", "--json")
    assert ran.code == 0, ran.err
    assert sorted(json.loads(line)["checked"] for line in ran.out.splitlines()) == [0, 0, 3]
    await two.eu.run(Sql("test.tamper", "update mainstay.events set action = 'b' where seq = 2 and action = 'a'"))
    ran = await command(two, "verify", "--company", eu_company.company_id, "--all", "--json")
    assert ran.code == 1


async def test_migrate_and_doctor_look_at_every_database(two: Two, server_url: str, template_url: str) -> None:
    new = await cut_database(server_url, server_url)
    ran = await command(two, "migrate", eu_url=new)
    assert ran.code == 0, ran.err
    db = Database(new, size=1)
    assert await migrations.revision(db) == migrations.newest()
    await db.close()
    await drop_database(server_url, new)
    ran = await command(two, "migrate", eu_url=AWAY)
    assert (ran.code, "not migrated: EU" in ran.err) == (1, True)
    assert "nobody" not in ran.err + ran.out
    for eu_url, verdict in ((two.eu_url, "pass"), (AWAY, "fail")):
        checks = json.loads((await command(two, "doctor", "--json", eu_url=eu_url)).out)["checks"]
        found = {one["name"]: one["verdict"] for one in checks}
        assert (found["database"], found["EU database"]) == ("pass", verdict)
        assert ("EU partitions" in found) == (verdict == "pass")
