"""An erasure that is cut off anywhere goes on where it was, and what is archived meanwhile brings nobody back."""

from datetime import timedelta
from typing import Any

import pytest

from mainstay import archive
from mainstay.archive import archiving
from mainstay.erasure import erasing
from tests.erasure.conftest import ADA, Erasing


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
    (day,) = await archive.due_days(site.ground)
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
