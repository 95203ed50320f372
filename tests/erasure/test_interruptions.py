"""An erasure that is cut off anywhere goes on where it was, and what is archived meanwhile brings nobody back."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from mainstay import archive
from mainstay.archive import archiving, forms
from mainstay.erasure import erasing
from mainstay.erasure.queries import copies
from mainstay.kernel import objects
from mainstay.kernel.db import Sql
from mainstay.kernel.errors import Unavailable
from mainstay.kernel.work import Retry
from tests.erasure.conftest import ADA, Erasing
from tests.objects import S3Server


class Crash(Exception):
    """The worker is gone."""


async def _aged(erasing_site: Erasing, count: int = 3) -> Any:
    tenancy = await erasing_site.site.company(plan="free")
    await erasing_site.send(tenancy, [{"action": f"n{n}", "actor": ADA} for n in range(count)])
    await erasing_site.site.clock.move(timedelta(days=8))
    return tenancy


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (erasing, "_count_archived"),
        (archiving, "_record"),
        (erasing, "_erase_copies"),
        (erasing, "_complete"),
    ],
)
async def test_a_run_that_is_cut_off_is_ended_by_the_next(
    erasing_site: Erasing, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    tenancy = await _aged(erasing_site)
    await erasing_site.site.run()
    asked = await erasing_site.ask(tenancy)

    async def crash(*_: Any, **__: Any) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(module, name, crash)
        with pytest.raises(Crash):
            await erasing_site.run(tenancy, asked["id"])
    assert (await erasing_site.read(tenancy, asked["id"]))["state"] == "running"
    await erasing_site.run(tenancy, asked["id"])
    done = await erasing_site.read(tenancy, asked["id"])
    assert (done["state"], done["found"]["events"], done["found"]["objects"]) == ("completed", 3, 1)
    assert [one.outcome for one in await archive.verify_all(erasing_site.site.ground)] == ["sound"]
    assert (await erasing_site.verdict(tenancy)).ok
    assert await erasing_site.places_of() == []
    assert await erasing_site.run(tenancy, asked["id"]) is None


async def test_an_archiving_that_read_the_events_before_cannot_bring_them_back(
    erasing_site: Erasing, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = erasing_site.site
    tenancy = await _aged(erasing_site)
    await archive.mark(site.ground)
    (day,) = [one async for one in archive.due_days(site.ground)]
    real, erased = archiving._read_back, []

    async def read_back_after_an_erasure(*given: Any) -> None:
        await real(*given)
        if not erased:
            erased.append(True)
            # The object is there and not on record: the erasure takes the day's place in the store itself.
            asked = await erasing_site.ask(tenancy)
            await erasing_site.run(tenancy, asked["id"])

    monkeypatch.setattr(archiving, "_read_back", read_back_after_an_erasure)
    await archive.archive_day(site.ground, day)
    assert erased
    assert await erasing_site.places_of() == []
    assert [one.outcome for one in await archive.verify_all(site.ground)] == ["sound"]


async def test_an_object_that_is_damaged_fails_the_erasure_which_says_so(erasing_site: Erasing) -> None:
    site = erasing_site.site
    tenancy = await _aged(erasing_site)
    await site.run()
    (name,) = await site.names()
    whole = b"".join([piece async for piece in site.objects.get(name)])
    await site.objects.put(name, whole[:-9])
    asked = await erasing_site.ask(tenancy)
    await erasing_site.run(tenancy, asked["id"])
    failed = await erasing_site.read(tenancy, asked["id"])
    assert failed["state"] == "failed"
    assert "archive ends" in failed["failure"]
    await site.objects.put(name, whole)
    await erasing_site.run(tenancy, asked["id"])
    assert (await erasing_site.read(tenancy, asked["id"]))["state"] == "completed"
    assert await erasing_site.places_of() == []


async def test_many_events_of_one_person_are_taken_in_pieces(
    erasing_site: Erasing, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenancy = await erasing_site.site.company()
    # Of more than one statement gives, some do not hold the person though they hold the text.
    people = [{**ADA, "id": ADA["id"] + ("7" if n % 3 == 0 else "")} for n in range(450)]
    await erasing_site.send(tenancy, [{"action": f"n{n}", "actor": {"id": one["id"]}} for n, one in enumerate(people)])
    looks = []
    real = erasing._erase_stored

    async def looked(one: Any, step: Any) -> None:
        looks.append(step["seq"])
        await real(one, step)

    monkeypatch.setattr(erasing, "_erase_stored", looked)
    done = await erasing_site.erase(tenancy, actorEmail=None, alsoKnownAs=[])
    assert done["found"]["events"] == 300
    assert {200, 400} <= set(looks)
    job = await erasing_site.site.api.post(
        "/v1/key/company/gdpr/export", json={"actorId": ADA["id"] + "7"}, headers=tenancy.company_auth
    )
    assert await erasing_site.gather(tenancy, job.json()["id"]) is None
    shown = await erasing_site.site.api.get(f"/v1/key/company/jobs/{job.json()['id']}", headers=tenancy.company_auth)
    assert (shown.json()["status"], shown.json()["result"]["rows"]) == ("completed", 150)


async def test_a_copy_that_moves_to_the_end_of_its_table_meanwhile_is_found_there(
    erasing_site: Erasing, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenancy = await erasing_site.site.company()
    fill = Sql(
        "t",
        """insert into mainstay.dead_jobs (id, enqueued_at, died_at, company_id, epoch, priority, attempt,
             max_attempts, reason, queue, kind, lane, trace_id, error, payload)
           select n, now(), now(), $1, 1, 5, 1, 1, 'failed', 'q', 'k', '', '',
                  case when n = 900000 then 'user-ada-7 ' else '' end || repeat('x', 1000), '{}'
             from generate_series($2::int, $3::int) n""",
    )
    await erasing_site.db.run(fill, tenancy.company_id, 900_000, 900_030)
    monkeypatch.setattr(copies, "BLOCKS", 1)
    real = copies.lock_with

    async def lock_after_others_wrote(tx: Any, company_id: str, each: Any, leaf: str, **more: Any) -> Any:
        if each.table == "dead_jobs" and more["block"] == 0 and more["since"] is None:
            await erasing_site.db.run(fill, tenancy.company_id, 900_031, 900_100)
            await erasing_site.db.run(Sql("t", "update mainstay.dead_jobs set attempt = 2 where id = 900000"))
        return await real(tx, company_id, each, leaf, **more)

    monkeypatch.setattr(copies, "lock_with", lock_after_others_wrote)
    assert (await erasing_site.erase(tenancy))["found"]["copies"] == 1
    assert await erasing_site.places_of() == []


async def test_a_copy_that_moves_to_a_table_that_was_walked_already_is_found_by_another_walk(
    erasing_site: Erasing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead job is put back in line behind the walk, and dies again before the next one meets it."""
    tenancy = await erasing_site.site.company()
    moves = [
        """insert into mainstay.jobs (id, queue, kind, company_id, payload)
             values (900000, 'q', 'k', $1, '{"of": "user-ada-7"}')""",
        """with gone as (delete from mainstay.jobs where id = 900000 and company_id = $1 returning *)
           insert into mainstay.dead_jobs (id, enqueued_at, company_id, epoch, priority, attempt, max_attempts, reason,
                                           queue, kind, lane, trace_id, error, payload)
           select id, enqueued_at, company_id, 1, 5, 1, 1, 'failed', queue, kind, '', '', 'user-ada-7', payload
             from gone""",
    ]
    real = copies.lock_with

    async def lock_after_it_moved(tx: Any, company_id: str, each: Any, leaf: str, **more: Any) -> Any:
        is_behind = each.table == ("finished_jobs" if len(moves) == 2 else "job_attempts")
        rows = await real(tx, company_id, each, leaf, **more)
        if is_behind and moves and not any(row["place"] for row in rows):
            await erasing_site.db.run(Sql("t", moves.pop(0)), tenancy.company_id)
        return rows

    monkeypatch.setattr(copies, "lock_with", lock_after_it_moved)
    assert (await erasing_site.erase(tenancy))["found"]["copies"] == 1
    assert not moves
    assert await erasing_site.places_of() == []


async def test_an_upload_to_a_bucket_that_breaks_off_leaves_the_day_as_it_was_and_the_next_run_ends_it(
    s3_erasing_site: Erasing, s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = s3_erasing_site.site
    tenancy = await _aged(s3_erasing_site)
    await site.run()
    (name,) = await site.names()
    before = await site.objects.head(name)
    asked = await s3_erasing_site.ask(tenancy)
    real = forms.Packed.pieces

    async def torn(self: Any) -> AsyncIterator[bytes]:
        async for piece in real(self):
            yield piece[: len(piece) // 2]
            raise Unavailable("The object store does not do its work.")

    with monkeypatch.context() as patched:
        # As an object that is sent in parts, of which the last never comes.
        patched.setattr(objects, "WHOLE_BYTES", 0)
        patched.setattr(forms.Packed, "pieces", torn)
        assert isinstance(await s3_erasing_site.run(tenancy, asked["id"]), Retry)
    failed = await s3_erasing_site.read(tenancy, asked["id"])
    assert (failed["state"], failed["failure"]) == ("failed", "The object store does not do its work.")
    assert await site.objects.head(name) == before
    assert "Uploads" not in s3_server.client().list_multipart_uploads(Bucket=bucket)
    assert [one.outcome for one in await archive.verify_all(site.ground)] == ["sound"]
    assert await s3_erasing_site.run(tenancy, asked["id"]) is None
    done = await s3_erasing_site.read(tenancy, asked["id"])
    assert (done["state"], done["found"]["events"], done["found"]["objects"]) == ("completed", 3, 1)
    assert await s3_erasing_site.places_of() == []
    assert [one.outcome for one in await archive.verify_all(site.ground)] == ["sound"]
    assert (await s3_erasing_site.verdict(tenancy)).ok


def test_who_waits_for_another_database_walks_its_copies_for_a_tenth_of_the_time_at_most() -> None:
    rests = [erasing.rest_after(walked) for walked in (0, 0.2, 3, 30, 4_000)]
    assert [one.total_seconds() for one in rests] == [2, 2, 30, 300, 300]
