"""The audit log from end to end: sent, searched, followed, exported, archived, erased, and proven each time anew."""

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx

from mainstay import archive
from tests.cli.running import called
from tests.erasure.conftest import ADA, BOB, Erasing, erasing_site, site
from tests.events.tails import open_tail
from tests.tenancy import OPERATOR, Tenancy

__all__ = ["erasing_site", "site"]
EVENTS = "/v1/key/workspace/events"


async def _export(api: httpx.AsyncClient, tenancy: Tenancy, target: Path) -> Path:
    answer = await api.get("/v1/key/workspace/export.ndjson?include=proof", headers=tenancy.auth)
    assert answer.status_code == 200
    target.write_bytes(answer.content)
    return target


async def _archive(api: httpx.AsyncClient, tenancy: Tenancy, target: Path) -> Path:
    answer = await api.get("/v1/key/company/export-archive.json", headers=tenancy.company_auth)
    assert answer.status_code == 200
    target.write_bytes(answer.content)
    return target


async def test_a_log_is_sent_searched_followed_exported_archived_erased_and_verified(
    erasing_site: Erasing, tmp_path: Path
) -> None:
    at = erasing_site.site
    api, tenancy = at.api, await at.company(plan="growth")
    ada = {"action": "report.read", "actor": ADA, "payload": {"page": 1}}
    bob = {"action": "report.sent", "actor": BOB, "target": {"id": ADA["id"], "type": "user"}}
    await erasing_site.send(tenancy, [ada, bob, ada])
    found = await api.get(EVENTS, params={"actorEmail": ADA["email"]}, headers=tenancy.auth)
    assert [one["seq"] for one in found.json()["data"]] == [3, 1]
    async with open_tail(api, tenancy.auth) as tail:
        await erasing_site.send(tenancy, [bob])
        assert [one["seq"] for one in await tail.events(1)] == [4]
    keys = tmp_path / "keys"
    stands = (await api.get("/v1/key/workspace/checkpoint", headers=tenancy.auth)).json()
    keys.write_text("\n".join(stands["keys"]))
    before = await _export(api, tenancy, tmp_path / "before.ndjson")
    async with erasing_site.db.begin() as tx:
        await archive.override_retention(tx, OPERATOR, tenancy.company_id, tenancy.workspace_id, days=7)
    await at.clock.move(timedelta(days=9))
    assert await at.run() == 4
    await erasing_site.send(tenancy, [ada])
    days = tmp_path / "objects"

    done = await erasing_site.erase(tenancy)

    assert (done["state"], done["found"]["events"], done["found"]["objects"]) == ("completed", 5, 1)
    assert await erasing_site.places_of() == []
    assert (await api.get(EVENTS, params={"actorEmail": ADA["email"]}, headers=tenancy.auth)).json()["data"] == []
    after = await _export(api, tenancy, tmp_path / "after.ndjson")
    read_back = await _archive(api, tenancy, tmp_path / "archive.json")
    assert "lovelace" not in (after.read_text() + read_back.read_text()).lower()
    note = tmp_path / "note"
    note.write_text(stands["note"])
    for file in (before, read_back, days):
        proven = await asyncio.to_thread(called, "verify", str(file), "--key", str(keys))
        assert proven.code == 0, proven.out
        assert "ok, 4 events" in proven.out
        assert ("of 4 events parts were erased" in proven.out) == (file is not before)
    online = await asyncio.to_thread(
        called, "verify", "--company", tenancy.company_id, "--all", env={"DATABASE_URL": erasing_site.db.dsn}
    )
    assert online.code == 0, online.out
    assert "of 5 events parts were erased" in online.out
    assert [one.outcome for one in await archive.verify_all(at.ground)] == ["sound"]
