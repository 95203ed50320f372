"""Damage is found and told by object and row; what is whole proves itself wherever it was moved to."""

import gzip
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mainstay import archive, cli, events
from mainstay.events.checkpoints import public_key_text
from mainstay.kernel.db import Sql
from mainstay.kernel.errors import Unavailable
from tests.archive.conftest import EXPORT, Site


async def verify(site: Site) -> dict[str, archive.Verified]:
    """Everything is verified now; what was found, by object."""
    now = await site.db.value(Sql("t", "select mainstay.now()"))
    workspaces = await site.db.rows(Sql("t", "select distinct company_id, workspace_id from mainstay.archive_days"))
    found = [
        one
        for row in workspaces
        for one in await archive.verify_workspace(
            site.ground, str(row["company_id"]), str(row["workspace_id"]), before=now
        )
    ]
    return {one.day.name: one for one in found}


def edited(name: str, value: Any, seq: int) -> Any:
    def edit(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
        content[seq - 1][name] = value
        return content

    return edit


DAMAGE: list[Any] = [
    pytest.param(edited("action", "b", 2), 2, 3, "edited", id="row edited"),
    pytest.param(edited("payload", {"n": 99}, 4), 4, 5, "edited", id="payload edited"),
    pytest.param(lambda rows: rows[:1] + rows[2:], 2, 3, "deleted", id="row removed"),
    pytest.param(lambda rows: rows[:-2], 4, 5, "truncated", id="end removed"),
    pytest.param(lambda rows: [rows[0], rows[2], rows[1], *rows[3:]], 3, 3, "reordered", id="rows swapped"),
    pytest.param(lambda rows: rows + rows[-1:], 5, 7, "duplicated", id="row doubled"),
    pytest.param(lambda rows: [], 1, 2, "truncated", id="emptied"),
]


@pytest.mark.contract("HL-R-08", "HL-J-06")
@pytest.mark.parametrize(("damage", "seq", "line", "kind"), DAMAGE)
async def test_damage_is_told_by_object_and_row(site: Site, damage: Any, seq: int, line: int, kind: str) -> None:
    tenancy, other = await site.company(), await site.company()
    await site.send(other, 2)
    day = await site.aged(tenancy, 5)
    await site.run()
    lines = [json.dumps(row).encode() for row in damage(await site.content(day))]
    text = b"[\n" + b",\n".join(lines) + b"\n]\n" if lines else b"[]\n"
    await site.objects.put(day.name, gzip.compress(text))
    found = await verify(site)
    damaged = found.pop(day.name)
    assert damaged.outcome == "damaged"
    assert damaged.finding is not None
    assert [damaged.finding[name] for name in ("seq", "line", "kind")] == [seq, line, kind]
    assert {one.outcome for one in found.values()} == {"sound"}
    [told] = await site.told("archive.damaged")
    assert (told["object"], told["finding"]["seq"]) == (day.name, seq)
    shown = {one.object: one for one in await archive.list_days(site.db, tenancy.company_id)}
    assert (shown[day.name].state, shown[day.name].finding) == ("damaged", damaged.finding)


@pytest.mark.parametrize("kind", ["cut off", "flipped", "no gzip", "no array", "more behind", "deleted", "same events"])
async def test_objects_that_are_not_whole_are_found(site: Site, kind: str) -> None:
    tenancy = await site.company()
    day = await site.aged(tenancy, 50)
    await site.run()
    whole = await site.raw(day)
    middle = len(whole) // 2
    damaged = {
        "cut off": whole[:middle],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
        "no gzip": gzip.decompress(whole),
        "no array": gzip.compress(gzip.decompress(whole)[2:]),
        "more behind": whole + whole,
        "same events": gzip.compress(gzip.decompress(whole), 1),
    }
    if kind == "deleted":
        await site.objects.delete(day.name)
    else:
        await site.objects.put(day.name, damaged[kind])
    found = (await verify(site))[day.name]
    assert found.outcome == ("missing" if kind == "deleted" else "damaged")
    assert found.finding is not None
    assert found.finding["detail"]
    await site.objects.put(day.name, whole)
    await site.clock.move(timedelta(days=7))
    assert (await verify(site))[day.name].outcome == "sound"
    assert len(await site.told("archive.damaged")) == 1


async def test_an_archive_of_another_workspace_is_no_archive_of_this_one(site: Site) -> None:
    tenancy = await site.company()
    await site.send(tenancy, 3, key=tenancy.other_key)
    day = await site.aged(tenancy, 3)
    await site.run()
    other = archive.Day(tenancy.company_id, tenancy.other_workspace_id, day.day)
    await site.objects.put(day.name, await site.raw(other))
    found = (await verify(site))[day.name]
    assert found.finding is not None
    assert (found.outcome, found.finding["kind"]) == ("damaged", "foreign")


async def test_a_store_that_is_away_is_no_damage(site: Site, directory: Path) -> None:
    tenancy = await site.company()
    day = await site.aged(tenancy)
    await site.run()
    directory.rename(directory.with_name("away"))
    with pytest.raises(Unavailable):
        await archive.verify_day(site.ground, day)
    directory.with_name("away").rename(directory)
    [shown] = [one for one in await archive.list_days(site.db, tenancy.company_id) if one.object == day.name]
    assert (shown.state, shown.outcome) == ("archived", "sound")
    assert await site.told("archive.damaged") == []


async def keys_of(site: Site, path: Path) -> Path:
    keys = await events.public_keys(site.db)
    path.write_text("\n".join(public_key_text(name, key) for name, key in keys.items()))
    return path


def run(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
    result = CliRunner().invoke(cli.app, ["verify", *map(str, arguments), "--json"])
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


async def test_files_that_were_moved_prove_themselves_one_by_one_and_together(site: Site, tmp_path: Path) -> None:
    tenancy = await site.company()
    days = [await site.aged(tenancy, 3), await site.aged(tenancy, 4), await site.aged(tenancy, 5)]
    await site.run()
    keys = await keys_of(site, tmp_path / "keys")
    moved = tmp_path / "moved"
    moved.mkdir()
    files = [moved / f"{day.day}.json.gz" for day in days]
    for day, file in zip(days, files, strict=True):
        file.write_bytes(await site.raw(day))
    for file, (first, last) in zip(files, ((1, 3), (4, 7), (8, 12)), strict=True):
        code, [told] = run(file, "--key", keys)
        assert (code, told["ok"], told["checked"]) == (0, True, last - first + 1)
        assert (told["head"]["seq"], told["checkpointSeq"]) == (last, last)
    code, told_all = run(moved, "--key", keys)
    assert (code, [one["checked"] for one in told_all]) == (0, [3, 4, 5])

    query = {"workspaceId": tenancy.workspace_id}
    exported = await site.api.get(EXPORT, params=query, headers=tenancy.company_auth)
    (tmp_path / "export-archive.json").write_bytes(exported.content)
    code, [told] = run(tmp_path / "export-archive.json", "--key", keys)
    assert (code, told["checked"], told["checkpointSeq"]) == (0, 12, 12)

    files[1].rename(tmp_path / "elsewhere")
    code, told_all = run(moved, "--key", keys)
    assert (code, told_all[1]["firstBad"]["kind"], told_all[1]["firstBad"]["seq"]) == (1, "deleted", 4)

    content = json.loads(gzip.decompress(files[2].read_bytes()))
    content[1]["action"] = "b"
    files[2].write_bytes(gzip.compress("\n".join(["[", ",\n".join(map(json.dumps, content)), "]"]).encode()))
    code, [told] = run(files[2], "--key", keys)
    assert (code, told["firstBad"]["kind"], told["firstBad"]["seq"]) == (1, "edited", 9)
    content = json.loads(gzip.decompress(files[0].read_bytes()))[:-1]
    files[0].write_text("\n".join(["[", ",\n".join(map(json.dumps, content)), "]"]))
    code, [told] = run(files[0], "--key", keys)
    assert told["checkpointSeq"] is None
    code, told_all = run(tmp_path / "nothing", "--key", keys)
    assert code == 2
