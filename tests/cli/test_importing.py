"""Real log files through the importer and the API, with breaks, refusals and a file that was tampered with."""

import asyncio
import gzip
import json
import random
import signal
import subprocess
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from mainstay.embedded.postmaster import free_port
from mainstay.kernel.db import Database, Sql
from tests.cli.running import MAINSTAY, SECRETS, Ran, called, environment, mainstay, running
from tests.cli.test_mappings import RECORD, lines_of
from tests.tenancy import Tenancy

DENIED = ("AccessDenied", "Client.UnauthorizedOperation")


def imported(
    env: dict[str, str], path: Path | str, kind: str, *more: str, **options: Any
) -> tuple[dict[str, int], Ran]:
    """The summary of an import, and the run."""
    ran = mainstay("events", "import", str(path), "--as", kind, "--json", *more, env=env, **options)
    return (json.loads(ran.out) if ran.out else {}), ran


def listed(env: dict[str, str], *filters: str) -> list[dict[str, Any]]:
    """All events that match."""
    ran = mainstay("events", "list", "--all", "--json", *filters, env=env)
    assert ran.code == 0, ran.err
    return [json.loads(line) for line in ran.out.splitlines()]


async def keys_stored(db: Database) -> int:
    return int(await db.value(Sql("test.count", "select count(*) from mainstay.events")))


_GATE = """create table mainstay.test_gate (most bigint);
           insert into mainstay.test_gate values (%d);
           create function mainstay.test_wait() returns trigger language plpgsql as $$ begin
             while (select count(*) from mainstay.events) >= (select most from mainstay.test_gate) loop
               perform pg_sleep(0.01);
             end loop;
             return null;
           end $$;
           create trigger test_wait before insert on mainstay.events for each statement
             execute function mainstay.test_wait()"""


async def hold_at(db: Database, count: int) -> None:
    """Nothing more is stored once there are so many events, until `let_on`."""
    async with db.connection() as connection:
        await connection.execute(_GATE % count)


async def let_on(db: Database, count: int = 1_000_000) -> None:
    """More events are stored, up to that count."""
    await db.run(Sql("test.let", "update mainstay.test_gate set most = $1"), count)


async def until_stored(db: Database, count: int, process: "subprocess.Popen[bytes]") -> None:
    """So many events are there, and the importer still runs."""
    while await keys_stored(db) < count:
        assert process.poll() is None
        await asyncio.sleep(0.01)
    assert process.poll() is None


async def test_real_cloudtrail_records_are_imported_found_and_proven(
    client_env: dict[str, str], tenancy: Tenancy, fresh_url: str, shared_data: Path, tmp_path: Path
) -> None:
    records = [json.loads(line) for line in lines_of(shared_data / "cloudtrail.ndjson.gz")]
    denied = [record for record in records if record.get("errorCode") in DENIED]
    failed = {**RECORD, "eventSource": "signin.amazonaws.com", "eventName": "ConsoleLogin", "eventID": "mallory"}
    failed |= {"errorMessage": "Failed authentication", "responseElements": {"ConsoleLogin": "Failure"}}
    source = tmp_path / "trail.ndjson.gz"
    source.write_bytes(gzip.compress(b"\n".join(map(orjson.dumps, [*records, failed]))))

    summary, ran = imported(client_env, source, "cloudtrail")
    assert (ran.code, summary) == (0, {"read": 2901, "stored": 2901, "replayed": 0, "refused": 0}), ran.err

    found = listed(client_env, "--category", "denied")
    assert Counter(event["payload"]["eventID"] for event in found) == Counter(record["eventID"] for record in denied)
    assert len(found) == 60
    assert [event["payload"] for event in listed(client_env, "--category", "console-login-failed")] == [failed]
    logins = [record["eventID"] for record in records if record["eventName"] == "ConsoleLogin"]
    found = listed(client_env, "--category", "auth", "--action", "signin.ConsoleLogin", "--order", "asc")
    assert [event["payload"]["eventID"] for event in found] == logins

    everything = listed(client_env, "--order", "asc")
    assert [event["payload"] for event in everything] == [*records, failed]
    assert [event["occurredAt"][:19] for event in everything] == [r["eventTime"][:19] for r in [*records, failed]]

    online = mainstay(
        "verify", "--company", tenancy.company_id, "--workspace", "production", env={"DATABASE_URL": fresh_url}
    )
    assert online.code == 0, online.out + online.err
    assert "ok, 2901 events" in online.out


async def test_real_github_webhooks_are_imported_and_their_export_shows_tampering(
    client_env: dict[str, str], shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "github-webhooks.ndjson.gz"
    summary, ran = imported(client_env, source, "github", "--batch", "100", given=b"")
    assert (ran.code, summary) == (0, {"read": 273, "stored": 273, "replayed": 0, "refused": 0}), ran.err
    payloads = [json.loads(line)["payload"] for line in lines_of(source)]
    exported = mainstay("events", "list", "--all", "--order", "asc", "--proof", env=client_env)
    lines = exported.out.splitlines()
    assert [json.loads(line)["payload"] for line in lines[:-1]] == payloads
    assert list(json.loads(lines[-1])) == ["checkpoint"]

    key = public_key(client_env)
    export = tmp_path / "export.ndjson"
    export.write_text(exported.out)
    whole = called("verify", str(export), "--key", key)
    assert (whole.code, "compared with the signed checkpoint of seq 273" in whole.out) == (0, True), whole.out
    blind = called("verify", str(export))
    assert blind.code == 0
    assert "no signed checkpoint was compared" in blind.out

    export.write_text(exported.out.replace('"actorName": "Codertocat"', '"actorName": "Mallory"', 1))
    edited = called("verify", str(export), "--key", key, "--json")
    first = next(n for n, line in enumerate(lines) if '"actorName": "Codertocat"' in line)
    verdict = json.loads(edited.out)
    assert (edited.code, verdict["ok"]) == (1, False)
    assert verdict["firstBad"] | {"detail": ""} == {
        "seq": first + 1, "id": json.loads(lines[first])["id"], "line": first + 1, "kind": "edited", "detail": "",
    }  # fmt: skip

    export.write_text("\n".join([*lines[:-2], lines[-1]]) + "\n")
    cut = called("verify", str(export), "--key", key)
    assert cut.code == 1
    assert "truncated" in cut.out
    assert called("verify", str(export)).code == 0


def public_key(env: dict[str, str]) -> str:
    """The key that signs checkpoints, as the service publishes it."""
    request = urllib.request.Request(
        env["MAINSTAY_URL"] + "/v1/key/workspace/checkpoint", headers={"x-api-key": env["MAINSTAY_KEY"]}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        key: str = json.load(answer)["keys"][0]
    return key


async def test_an_import_that_was_killed_goes_on_and_stores_nothing_twice(
    client_env: dict[str, str], db: Database, shared_data: Path, tmp_path: Path
) -> None:
    source = tmp_path / "trail.ndjson.gz"
    source.write_bytes((shared_data / "cloudtrail.ndjson.gz").read_bytes())
    command = [*MAINSTAY, "events", "import", str(source), "--as", "cloudtrail", "--batch", "20"]
    await hold_at(db, 300)
    for target in (300, 1_000):
        await let_on(db, target)
        process = subprocess.Popen(
            command, env=environment(**client_env), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await until_stored(db, target, process)
        process.kill()
        process.wait()
    await let_on(db)
    before = await keys_stored(db)
    assert 1_000 <= before < 2_900

    summary, ran = imported(client_env, source, "cloudtrail")
    assert ran.code == 0, ran.err
    assert "going on behind line" in ran.err
    assert (summary["read"], summary["refused"]) == (2_900, 0)
    assert summary["stored"] + summary["replayed"] == 2_900
    assert summary["replayed"] <= 40, "more than the batches in flight was sent again"
    assert await keys_stored(db) == 2_900

    again, ran = imported(client_env, source, "cloudtrail")
    assert (ran.code, again) == (0, summary)
    assert await keys_stored(db) == 2_900


async def test_an_import_resumes_after_its_keys_are_forgotten(
    client_env: dict[str, str], db: Database, tmp_path: Path
) -> None:
    source = tmp_path / "lines.ndjson"
    source.write_bytes(b"".join(b'{"action":"a.b","payload":{"n":%d}}\n' % n for n in range(100)))
    assert imported(client_env, source, "ndjson")[0]["stored"] == 100
    await db.run(Sql("test.forget", "update mainstay.events set idempotency_key = null"))
    with source.open("ab") as target:
        target.write(b'{"action":"a.c"}\n')
    summary, ran = imported(client_env, source, "ndjson")
    assert (ran.code, summary) == (0, {"read": 101, "stored": 101, "replayed": 0, "refused": 0}), ran.err
    assert await keys_stored(db) == 101

    source.write_bytes(source.read_bytes().replace(b'"n":3}', b'"n":4}', 1))
    _, ran = imported(client_env, source, "ndjson")
    assert ran.code == 2
    assert "its first lines changed" in ran.err
    assert await keys_stored(db) == 101


async def test_running_an_import_again_from_the_start_finds_everything_stored(
    client_env: dict[str, str], db: Database, shared_data: Path
) -> None:
    source = shared_data / "github-webhooks.ndjson.gz"
    given = gzip.decompress(source.read_bytes())
    first, _ = imported(client_env, "-", "github", given=given)
    second, ran = imported(client_env, "-", "github", given=given)
    assert (first["stored"], second["stored"], second["replayed"], ran.code) == (273, 0, 273, 0)
    assert await keys_stored(db) == 273


async def test_every_refused_line_is_told_with_its_place_and_reason(
    client_env: dict[str, str], db: Database, tmp_path: Path
) -> None:
    good = b'{"action":"a.b","payload":{"n":%d}}'
    lines = [
        good % 1,
        b"{not json",
        b'{"action":"bad action"}',
        b"",
        b'{"action":"a.b","payload":{"n":1e999}}',
        b'{"action":"a.b","payload":{"big":9007199254740993}}',
        b'{"action":"a.b","payload":{"deep":' + b"[" * 40 + b"]" * 40 + b"}}",
        b'{"action":"a.b","payload":' + b'{"a":' * 2_000 + b"1" + b"}" * 2_000 + b"}",
        b'{"action":"a.b","unknown":1}',
        b'{"action":"a.b","payload":{"s":"\xff"}}',
        b'{"action":"a.b","payload":{"long":"' + b"x" * 1_048_600 + b'"}}',
        b'{"action":"a.b","payload":{"a":1,"a":2}}',
        good % 2,
        b'{"action":"a.b","payload":{"longer":"' + b"x" * 17_000_000 + b'"}}',
        good % 3,
    ]
    source, rejects = tmp_path / "lines.ndjson", tmp_path / "rejects.ndjson"
    source.write_bytes(b"\n".join(lines))
    summary, ran = imported(client_env, source, "ndjson", "--rejects", str(rejects))
    assert (ran.code, summary) == (1, {"read": 14, "stored": 3, "replayed": 0, "refused": 11}), ran.err
    refused = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [one["line"] for one in refused] == [2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 14]
    assert all(one["reason"] and one["pointer"].startswith("#") for one in refused)
    assert {one["line"]: one["pointer"] for one in refused}[3] == "#/action"
    assert {one["line"]: one["pointer"] for one in refused}[6] == "#/payload/big"
    for one in refused:
        assert f"line {one['line']} refused at {one['pointer']}: {one['reason']}" in ran.err
    assert await keys_stored(db) == 3


async def test_a_damaged_file_tells_where_and_keeps_what_came_before(
    client_env: dict[str, str], db: Database, tmp_path: Path
) -> None:
    noise = random.Random(7)
    lines = b"".join(b'{"action":"a.b","payload":{"n":"%d"}}\n' % noise.getrandbits(256) for _ in range(400))
    packed = gzip.compress(lines)
    source = tmp_path / "lines.ndjson.gz"
    source.write_bytes(packed[: len(packed) // 2])
    _, ran = imported(client_env, source, "ndjson", "--batch", "7")
    assert ran.code == 1
    assert "the compressed file is damaged after line" in ran.err
    stored = await keys_stored(db)
    assert stored > 100
    assert f"damaged after line {stored}" in ran.err
    source.write_bytes(packed)
    summary, ran = imported(client_env, source, "ndjson")
    assert (ran.code, summary["stored"]) == (0, 400), ran.err
    assert await keys_stored(db) == 400


async def test_an_import_outlives_a_restart_of_the_api(
    fresh_url: str, tenancy: Tenancy, db: Database, tmp_path: Path
) -> None:
    source = tmp_path / "lines.ndjson"
    source.write_bytes(b"".join(b'{"action":"a.b","payload":{"n":%d}}\n' % n for n in range(300)))
    env = {**SECRETS, "DATABASE_URL": fresh_url}
    await hold_at(db, 50)
    with running("api", "--port", str(free_port()), env=env, log=tmp_path / "api.log") as api:
        client = {"MAINSTAY_URL": api.url, "MAINSTAY_KEY": tenancy.key}
        command = [*MAINSTAY, "events", "import", str(source), "--as", "ndjson", "--batch", "2", "--json"]
        importer = subprocess.Popen(command, env=environment(**client), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        await until_stored(db, 50, importer)
        api.process.kill()
        api.process.wait()
    await let_on(db)
    await asyncio.sleep(1)
    with running("api", "--port", api.url.rpartition(":")[2], env=env, log=tmp_path / "again.log"):
        out, err = await asyncio.to_thread(importer.communicate, timeout=60)
    assert importer.returncode == 0, err
    assert b"does not answer" in err
    summary = json.loads(out)
    assert (summary["read"], summary["refused"]) == (300, 0)
    assert await keys_stored(db) == 300


async def test_an_interrupted_import_ends_with_130_and_keeps_its_position(
    client_env: dict[str, str], db: Database, tmp_path: Path
) -> None:
    source = tmp_path / "lines.ndjson"
    source.write_bytes(b"".join(b'{"action":"a.b","payload":{"n":%d}}\n' % n for n in range(2_000)))
    await hold_at(db, 50)
    command = [*MAINSTAY, "events", "import", str(source), "--as", "ndjson", "--batch", "2"]
    importer = subprocess.Popen(command, env=environment(**client_env), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    await until_stored(db, 50, importer)
    importer.send_signal(signal.SIGINT)
    _, err = await asyncio.to_thread(importer.communicate, timeout=60)
    assert (importer.returncode, err) == (130, b"error: interrupted\n")
    await let_on(db)
    summary, ran = imported(client_env, source, "ndjson")
    assert (ran.code, summary["read"], await keys_stored(db)) == (0, 2_000, 2_000)
    assert "going on behind line" in ran.err


@pytest.mark.parametrize(
    ("arguments", "env", "code", "told"),
    [
        (("x.ndjson", "--as", "csv"), {}, 2, "--as must be one of"),
        (("no-such-file", "--as", "ndjson"), {"MAINSTAY_KEY": "k"}, 2, "cannot read no-such-file"),
        (("-", "--as", "ndjson"), {}, 2, "an API key is missing"),
        (("-", "--as", "ndjson"), {"MAINSTAY_KEY": "k", "MAINSTAY_URL": "ftp://x"}, 2, "must begin with http"),
        (("-", "--as", "ndjson", "--batch", "1001"), {"MAINSTAY_KEY": "k"}, 2, "--batch"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(
    arguments: tuple[str, ...], env: dict[str, str], code: int, told: str
) -> None:
    ran = called("events", "import", *arguments, env=env)
    assert ran.code == code
    assert told in ran.err
    assert "Traceback" not in ran.err


async def test_a_key_that_is_refused_ends_the_import_with_advice(client_env: dict[str, str], tmp_path: Path) -> None:
    source = tmp_path / "lines.ndjson"
    source.write_bytes(b'{"action":"a.b"}\n')
    _, ran = imported({**client_env, "MAINSTAY_KEY": "mk_ws_" + "x" * 43}, source, "ndjson")
    assert ran.code == 1
    assert "refused with 401" in ran.err
    assert "MAINSTAY_KEY" in ran.err
