"""What is stored about a person: gathered over workspaces and archives into a file, for seven days."""

import gzip
import json
from datetime import timedelta
from typing import Any

import pytest

from mainstay import archive
from mainstay.erasure import company_jobs
from mainstay.kernel.db import Sql
from mainstay.kernel.work import Retry
from tests.erasure.conftest import ADA, BOB, Erasing
from tests.tenancy import Tenancy, open_tenancy

EXPORT = "/v1/key/company/gdpr/export"
JOBS = "/v1/key/company/jobs"
TALK: list[dict[str, Any]] = [
    {"action": "a", "actor": ADA, "payload": {"n": 1}},
    {"action": "b", "actor": BOB},
    {"action": "c", "actor": BOB, "target": {"id": ADA["id"]}},
]


async def _ask(erasing_site: Erasing, tenancy: Tenancy, **body: str) -> str:
    wanted = body or {"actorId": ADA["id"]}
    answer = await erasing_site.site.api.post(EXPORT, json=wanted, headers=tenancy.company_auth)
    assert answer.status_code == 202, answer.text
    assert answer.json()["status"] == "pending"
    assert answer.headers["location"] == f"{JOBS}/{answer.json()['id']}"
    return str(answer.json()["id"])


async def _read(erasing_site: Erasing, tenancy: Tenancy, job_id: str) -> dict[str, Any]:
    answer = await erasing_site.site.api.get(f"{JOBS}/{job_id}", headers=tenancy.company_auth)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def _actions(erasing_site: Erasing, tenancy: Tenancy, job: dict[str, Any]) -> list[str]:
    answer = await erasing_site.site.api.get(job["result"]["downloadUrl"], headers=tenancy.company_auth)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/gzip"
    assert int(answer.headers["content-length"]) == len(answer.content)
    lines = gzip.decompress(answer.content).decode().splitlines()
    assert all("proof" in json.loads(line) for line in lines)
    return [json.loads(line)["action"] for line in lines]


async def test_a_persons_events_of_all_workspaces_stored_and_archived_are_gathered(erasing_site: Erasing) -> None:
    site = erasing_site.site
    tenancy = await site.company(plan="free")
    await erasing_site.send(tenancy, TALK)
    await site.clock.move(timedelta(days=8))
    await site.run()
    await site.clock.move(timedelta(days=70))
    await archive.verify_all(site.ground)
    await archive.cut(site.allowing(cuts=True).ground)
    assert await site.rows(tenancy) == []
    await erasing_site.send(tenancy, [{"action": "d", "actor": ADA}, {"action": "e", "actor": BOB}])
    await erasing_site.send(
        tenancy, [{"action": "f", "payload": {"of": "USER-ADA-7", "to": "user-ada-7"}}], key=tenancy.other_key
    )
    job_id = await _ask(erasing_site, tenancy)
    assert await erasing_site.gather(tenancy, job_id) is None
    job = await _read(erasing_site, tenancy, job_id)
    assert (job["type"], job["status"], job["progress"], job["result"]["rows"]) == ("gdpr_export", "completed", 100, 4)
    assert sorted(await _actions(erasing_site, tenancy, job)) == ["a", "c", "d", "f"]
    kept = Sql("t", "select subject_sealed from mainstay.company_jobs")
    assert await erasing_site.db.value(kept) is None


async def test_another_companys_job_is_not_there(erasing_site: Erasing) -> None:
    tenancy, stranger = await erasing_site.site.company(), await open_tenancy(erasing_site.db)
    job_id = await _ask(erasing_site, tenancy)
    await erasing_site.gather(tenancy, job_id)
    for path in (f"{JOBS}/{job_id}", f"{JOBS}/{job_id}/file", f"{JOBS}/none"):
        assert (await erasing_site.site.api.get(path, headers=stranger.company_auth)).status_code == 404


async def test_a_file_is_gone_after_seven_days(erasing_site: Erasing) -> None:
    site = erasing_site.site
    tenancy = await site.company()
    job_id = await _ask(erasing_site, tenancy)
    early = await site.api.get(f"{JOBS}/{job_id}/file", headers=tenancy.company_auth)
    assert early.status_code == 409
    await erasing_site.gather(tenancy, job_id)
    await site.clock.move(timedelta(days=7) - timedelta(minutes=5))
    assert await company_jobs.expire(erasing_site.db, erasing_site.ground.stores) == 0
    assert len(await site.names()) == 1
    await site.clock.move(timedelta(minutes=6))
    assert await company_jobs.expire(erasing_site.db, erasing_site.ground.stores) == 1
    assert await site.names() == []
    job = await _read(erasing_site, tenancy, job_id)
    assert (job["status"], job["result"]["downloadUrl"]) == ("completed", None)
    late = await site.api.get(f"{JOBS}/{job_id}/file", headers=tenancy.company_auth)
    assert late.status_code == 409


async def test_an_erasure_takes_files_away_and_one_that_is_being_gathered_begins_anew(
    erasing_site: Erasing, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenancy = await erasing_site.site.company()
    await erasing_site.send(tenancy, TALK)
    first, second = await _ask(erasing_site, tenancy), await _ask(erasing_site, tenancy)
    await erasing_site.gather(tenancy, first)
    real = erasing_site.ground.stores.get("US").put

    async def put_while_an_erasure_ends(name: str, body: Any) -> Any:
        stored = await real(name, body)
        await erasing_site.erase(tenancy)
        return stored

    with monkeypatch.context() as patched:
        patched.setattr(erasing_site.ground.stores.get("US"), "put", put_while_an_erasure_ends)
        assert isinstance(await erasing_site.gather(tenancy, second), Retry)
    assert await erasing_site.places_of() == []
    assert (await _read(erasing_site, tenancy, first))["result"]["downloadUrl"] is None
    assert await erasing_site.gather(tenancy, second) is None
    assert (await _read(erasing_site, tenancy, second))["result"]["rows"] == 0


async def test_without_a_store_the_job_fails_and_says_why(api: Any, tenancy: Tenancy, fresh_url: str, db: Any) -> None:
    from mainstay import erasure
    from mainstay.kernel.crypto import Keyring
    from mainstay.kernel.regions import Regions
    from tests.archive.conftest import Site
    from tests.tenancy import test_settings

    settings = test_settings(fresh_url)
    ground = erasure.ground_of(settings, Regions(db, {}), Keyring(settings.secret, ()))
    site = Site(db, api, None, ground.archive_of(db), None)  # type: ignore[arg-type]
    one = Erasing(site, ground)
    job_id = await _ask(one, tenancy)
    assert isinstance(await one.gather(tenancy, job_id), Retry)
    job = await _read(one, tenancy, job_id)
    assert (job["status"], job["error"]) == ("failed", "No object store is configured for this region.")


@pytest.mark.parametrize(
    "body", [{}, {"actorId": ""}, {"actorEmail": "none"}, {"actorId": 7}, {"actorId": "a", "x": 1}]
)
async def test_bad_requests_are_refused(api: Any, tenancy: Tenancy, body: dict[str, Any]) -> None:
    answer = await api.post(EXPORT, json=body, headers=tenancy.company_auth)
    assert answer.status_code == 400, answer.text


async def test_there_are_at_most_ten_under_way(erasing_site: Erasing) -> None:
    tenancy = await erasing_site.site.company()
    for _ in range(10):
        await _ask(erasing_site, tenancy)
    body = {"actorId": "u"}
    answer = await erasing_site.site.api.post(EXPORT, json=body, headers=tenancy.company_auth)
    assert answer.status_code == 409
