"""Exports over HTTP: their forms and filters, the plan's cap, and what shows that they are whole."""

import csv
import io
import json
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from mainstay import plans
from mainstay.events import Sealer, export_forms, exporting, flat, public_keys, verify_file
from mainstay.events.queries.exporting import COLUMNS, RISKY
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Sql
from tests.conftest import running_app
from tests.events.test_reading import send, walk
from tests.tenancy import Tenancy, open_tenancy

WORKSPACE = "/v1/key/workspace/export"
COMPANY = "/v1/key/company/export"
each = pytest.mark.parametrize
SCOPES = each("scope", ["workspace", "company"])
TRICKY = [
    {"action": "a.plain"},
    {
        "action": "-starts:with.minus",
        "category": '=HYPERLINK("http://x","y")',
        "projectId": "+1",
        "actor": {
            "id": "@x",
            "email": "'quoted@x.io",
            "name": 'Renée "Ada", the\r\nsecond\tone 😀 \\n \u2028\x01\x03\x7f',
        },
        "target": {"id": "\tid", "type": "＝wide"},  # noqa: RUF001
        "payload": {"a\nb": 'x,"y"', "n": [1, 2.5, 1e20, None, True], "€": "<&>'\\", "\x03": "\x1f"},
        "metadata": {},
        "changes": [{"field": "f", "old": "=1", "new": None}],
        "occurredAt": "1900-01-01T00:00:00.1Z",
    },
    {"action": "b", "category": '\n",\x03"\n', "actor": {"name": '",\x03"'}, "payload": {"deep": {"x": "y" * 5000}}},
    {"action": "c", "category": ".", "projectId": "\\.", "target": {"type": " "}, "occurredAt": "2999-12-31T23:59:59Z"},
]


async def export(
    api: httpx.AsyncClient, auth: dict[str, str], path: str = f"{WORKSPACE}.json", **params: Any
) -> httpx.Response:
    answer = await api.get(path, headers=auth, params={name.rstrip("_"): value for name, value in params.items()})
    assert answer.status_code == 200, answer.text
    return answer


def auth_of(tenancy: Tenancy, scope: str) -> dict[str, str]:
    return tenancy.company_auth if scope == "company" else tenancy.auth


def path_of(scope: str, form: str = "json") -> str:
    return f"/v1/key/{scope}/export.{form}"


def ids_of(answer: httpx.Response) -> list[str]:
    return [event["id"] for event in answer.json()["data"]]


def as_stored(field: str) -> str:
    """The documented way back from a CSV field."""
    return field[1:] if field[:1] == "'" else field


def from_csv(text: str) -> list[dict[str, Any]]:
    """The rows of a CSV export as the JSON export has them."""
    found: list[dict[str, Any]] = []
    for row in csv.DictReader(io.StringIO(text, newline="")):
        event: dict[str, Any] = {name: as_stored(value) or None for name, value in row.items()}
        for name in ("payload", "metadata", "changes"):
            event[name] = json.loads(row[name]) if row[name] else None
        found.append(
            event | {"seq": int(row["seq"])} | {name: row[name] == "true" for name in ("archived", "archivalCandidate")}
        )
    return found


async def both_filled(api: httpx.AsyncClient, tenancy: Tenancy, events: list[dict[str, Any]]) -> list[str]:
    """The same events in both workspaces; the ids of the first one's."""
    await send(api, {"x-api-key": tenancy.other_key}, events)
    return await send(api, tenancy.auth, events)


@pytest.mark.contract("HL-X-01", "HL-X-03", "HL-E-10", "HL-E-03")
async def test_a_company_exports_all_its_workspaces_and_a_workspace_its_own(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    stranger = await open_tenancy(db)
    await send(api, stranger.auth, TRICKY)
    ours = await both_filled(api, tenancy, TRICKY)
    listed = await api.get("/v1/key/company/events", headers=tenancy.company_auth, params={"limit": 100})
    everything = {event["id"]: event for event in listed.json()["data"]}
    body = (await export(api, tenancy.auth)).json()
    assert body["data"] == [everything[identifier] for identifier in ours]
    assert body["meta"] == {"rows": len(TRICKY), "cap": 250_000, "truncated": False}
    whole = (await export(api, tenancy.company_auth, f"{COMPANY}.json")).json()["data"]
    assert {event["id"]: event for event in whole} == everything
    assert [event["createdAt"] for event in whole] == sorted(event["createdAt"] for event in whole)
    sent = (await api.post("/v1/key/workspace/events", json={"action": "z"}, headers=tenancy.auth)).json()
    for scope in ("workspace", "company"):
        newest = (await export(api, auth_of(tenancy, scope), path_of(scope))).json()["data"]
        assert sent in newest, "the export shows the event as its ingestion answered, trace id and all"


@pytest.mark.contract("HL-X-02", "HL-X-04")
@SCOPES
async def test_csv_and_ndjson_have_the_rows_of_json(api: httpx.AsyncClient, tenancy: Tenancy, scope: str) -> None:
    await both_filled(api, tenancy, TRICKY)
    auth = auth_of(tenancy, scope)
    rows = (await export(api, auth, path_of(scope))).json()["data"]
    assert len(rows) == len(TRICKY) * (2 if scope == "company" else 1)
    text = await export(api, auth, path_of(scope, "csv"))
    assert text.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert text.headers["content-disposition"].endswith('.csv"')
    assert from_csv(text.text) == rows
    assert text.text.endswith("\r\n")
    assert next(csv.DictReader(io.StringIO(text.text, newline=""))).keys() == COLUMNS.keys()
    lines = [json.loads(line) for line in (await export(api, auth, path_of(scope, "ndjson"))).text.split("\n")[:-1]]
    assert lines == [*rows, {"end": {"rows": len(rows), "cap": 250_000, "truncated": False}}]


async def test_rows_are_the_shape_of_answers_byte_by_byte(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    await send(api, tenancy.auth, TRICKY)
    found = Sql("test.events", "select * from mainstay.events where workspace_id = $1 order by seq")
    await db.run(Sql("test.erase", 'update mainstay.events set digests = \'{"actor": "00"}\' where seq = 2'))
    await db.run(Sql("test.unsalt", "update mainstay.events set salts = null where seq = 3"))
    rows = await db.rows(found, tenancy.workspace_id)
    for include in ({}, {"include": "proof"}):
        answer = await export(api, tenancy.auth, f"{WORKSPACE}.ndjson", **include)
        lines = answer.content.split(b"\n")[: len(rows)]
        assert lines == [flat(row, with_proof=bool(include)) for row in rows]


@SCOPES
async def test_no_field_of_a_spreadsheet_is_a_formula(api: httpx.AsyncClient, tenancy: Tenancy, scope: str) -> None:
    values = [f"{char}1+1" for char in RISKY]
    events = [
        {"action": "a", "category": one, "projectId": one, "actor": {"id": one, "email": one, "name": one},
         "target": {"id": one, "type": one}} for one in values
    ]  # fmt: skip
    await both_filled(api, tenancy, events)
    text = (await export(api, auth_of(tenancy, scope), path_of(scope, "csv"))).text
    for row in csv.reader(io.StringIO(text, newline="")):
        assert not [field for field in row if field and field[0] in RISKY and field[0] != "'"]
    assert {row["category"] for row in from_csv(text)} == set(values)


@SCOPES
async def test_an_empty_export_is_whole(api: httpx.AsyncClient, tenancy: Tenancy, scope: str) -> None:
    auth = auth_of(tenancy, scope)
    params = {"action": "nothing.like.it"}
    assert (await export(api, auth, path_of(scope), **params)).json() == {
        "data": [],
        "meta": {"rows": 0, "cap": 250_000, "truncated": False},
    }
    assert (await export(api, auth, path_of(scope, "csv"), **params)).text == ",".join(COLUMNS) + "\r\n"
    assert (await export(api, auth, path_of(scope, "ndjson"), **params)).json()["end"]["rows"] == 0


@pytest.mark.contract("HL-X-05", "HL-X-06", "HL-X-07", "HL-X-08", "HL-X-09")
@each("plan", list(plans.PLANS))
async def test_the_plan_caps_the_export(fresh_url: str, db: Database, plan: str) -> None:
    table = {"free": 10_000, "starter": 50_000, "growth": 250_000, "scale": 1_000_000, "enterprise": None}
    assert {name: one.export_rows for name, one in plans.PLANS.items()} == table
    tenancy = await open_tenancy(db, plan=plan)
    cap = None if plan == "enterprise" else 5
    lowered = ",".join(f"{name}=5" for name in table if name != "enterprise")
    async with running_app(fresh_url, PLAN_EXPORT_ROWS=lowered) as api:
        ids = await send(api, tenancy.auth, [{"action": "a"}] * 5)
        for scope, form in (("workspace", "json"), ("company", "json")):
            answer = await export(api, auth_of(tenancy, scope), path_of(scope, form), action="a")
            assert ids_of(answer) == ids
            assert answer.json()["meta"] == {"rows": 5, "cap": cap, "truncated": False}
            assert answer.headers["x-export-cap"] == str(cap or "none")
            assert answer.headers["x-export-truncated"] == "false"
        ids += await send(api, tenancy.auth, [{"action": "a"}])
        left = ids if plan == "enterprise" else ids[:5]
        for scope in ("workspace", "company"):
            answer = await export(api, auth_of(tenancy, scope), path_of(scope), action="a")
            assert ids_of(answer) == left
            assert answer.json()["meta"] == {"rows": len(left), "cap": cap, "truncated": cap is not None}
            assert answer.headers["x-export-truncated"] == ("false" if cap is None else "true")
            lines = (await export(api, auth_of(tenancy, scope), path_of(scope, "ndjson"), action="a")).text.split("\n")
            assert json.loads(lines[-2])["end"]["truncated"] is (cap is not None)
            table_ = await export(api, auth_of(tenancy, scope), path_of(scope, "csv"), action="a")
            assert [row["id"] for row in from_csv(table_.text)] == left
            assert table_.headers["x-export-truncated"] == ("false" if cap is None else "true")


async def test_a_cut_that_only_shows_at_the_end_is_told_there(
    fresh_url: str, tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_time(*_: Any) -> None:
        return None

    monkeypatch.setattr(exporting.Exports, "_is_cut", no_time)
    async with running_app(fresh_url, PLAN_EXPORT_ROWS="growth=2") as api:
        for count in (2, 3):
            await send(api, tenancy.auth, [{"action": "a"}] * (2 if count == 2 else 1))
            told = {"rows": 2, "cap": 2, "truncated": count == 3}
            answer = await export(api, tenancy.auth)
            assert "x-export-truncated" not in answer.headers
            assert answer.json()["meta"] == told
            text = (await export(api, tenancy.auth, f"{WORKSPACE}.csv")).text
            rows = list(csv.reader(io.StringIO(text, newline="")))
            assert {len(row) for row in rows} == {len(COLUMNS)}
            assert (rows[-1][0] == "#end") is (count == 3)
            assert count == 2 or json.loads(rows[-1][1]) == told


async def test_csv_ends_with_a_record_for_whoever_asks(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    await send(api, tenancy.auth, [{"action": "a"}])
    rows = list(csv.reader(io.StringIO((await export(api, tenancy.auth, f"{WORKSPACE}.csv", end="true")).text)))
    assert rows[-1][:2] == ["#end", '{"rows":1,"cap":250000,"truncated":false}']


@pytest.mark.contract("HL-X-11")
@SCOPES
async def test_archived_events_are_left_out(api: httpx.AsyncClient, db: Database, tenancy: Tenancy, scope: str) -> None:
    ids = await send(api, tenancy.auth, [{"action": "own"}] * 6)
    archive = Sql("test.archive", "update mainstay.events set archived = true where workspace_id = $1 and seq % 2 = 0")
    await db.run(archive, tenancy.workspace_id)
    for form in ("json", "csv"):
        answer = await export(api, auth_of(tenancy, scope), path_of(scope, form), action="own")
        rows = answer.json()["data"] if form == "json" else from_csv(answer.text)
        assert [row["id"] for row in rows] == ids[::2]


@pytest.mark.contract("HL-X-12", "HL-X-13", "HL-X-14", "HL-X-15", "HL-X-16")
@SCOPES
async def test_filters_bound_and_combine_as_those_of_lists(
    api: httpx.AsyncClient, tenancy: Tenancy, sql_clock: Any, scope: str
) -> None:
    ids: list[str] = []
    for number in range(8):
        event = {"action": f"a.{number % 2}", "category": f"c{number // 4}"}
        ids += await send(api, tenancy.auth, [event])
        await sql_clock.move(timedelta(hours=1))
    auth = auth_of(tenancy, scope)
    listed = (await api.get("/v1/key/workspace/events", headers=tenancy.auth, params={"order": "asc"})).json()["data"]
    at = {event["id"]: event["createdAt"] for event in listed}
    for filters, expected in (
        ({"from": at[ids[2]]}, ids[2:]),
        ({"from": at[ids[2]][:-1] + "Z"}, ids[2:]),
        ({"to": at[ids[5]]}, ids[:6]),
        ({"action": "a.1"}, ids[1::2]),
        ({"category": "c1"}, ids[4:]),
        ({"from": at[ids[1]], "to": at[ids[6]], "action": "a.0", "category": "c1"}, [ids[4], ids[6]]),
        ({"from": at[ids[6]], "to": at[ids[6]]}, [ids[6]]),
        ({"text": "A.1", "to": at[ids[3]]}, [ids[1], ids[3]]),
    ):
        own = set(ids)
        assert [one for one in ids_of(await export(api, auth, path_of(scope), **filters)) if one in own] == expected
        path = f"/v1/key/{scope}/events"
        assert [one for one in await walk(api, auth, path, order="asc", **filters) if one in own] == expected
    for wrong in ({"from": "abc"}, {"to": "2026-13-01"}, {"from": "2026-02-01", "to": "2026-01-01"}, {"nope": "1"}):
        for path in (path_of(scope), path_of(scope, "csv"), f"/v1/key/{scope}/events"):
            answer = await api.get(path, headers=auth, params=wrong)
            assert answer.status_code == 400
            assert answer.json()["errors"][0]["pointer"] == next(iter(wrong))


@each("wrong", [{"include": "all"}, {"end": "perhaps"}, {"action": "x" * 513}, {"text": "\0"}, {"limit": "3"}])
async def test_what_no_export_can_be_asked_for_is_refused(
    api: httpx.AsyncClient, tenancy: Tenancy, wrong: dict[str, str]
) -> None:
    answer = await api.get(f"{WORKSPACE}.json", headers=tenancy.auth, params=wrong)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == next(iter(wrong))


async def test_csv_has_no_proofs(api: httpx.AsyncClient, tenancy: Tenancy) -> None:
    answer = await api.get(f"{WORKSPACE}.csv", headers=tenancy.auth, params={"include": "proof"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "include"


@each("value", ["a'b", 'a"b\\', "x'; drop table mainstay.events; --", "\\", "$1", "%s %(x)s", ":name", "é😀\n\x01"])
@SCOPES
async def test_the_values_of_filters_are_taken_as_they_are(
    api: httpx.AsyncClient, tenancy: Tenancy, value: str, scope: str
) -> None:
    (_, wanted) = await send(api, tenancy.auth, [{"action": "a"}, {"action": "a", "category": value}])
    assert ids_of(await export(api, auth_of(tenancy, scope), path_of(scope), category=value)) == [wanted]
    assert wanted not in ids_of(await export(api, auth_of(tenancy, scope), path_of(scope), text=value))


async def test_an_export_with_proofs_verifies_offline(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, tmp_path: Path
) -> None:
    await send(api, tenancy.auth, TRICKY)
    keys = await public_keys(db)
    if not keys:
        async with db.begin() as tx:
            await Sealer(Keyring("a-test-secret-of-forty-characters-or-so-1")).seal(
                tx, tenancy.company_id, tenancy.workspace_id
            )
        keys = await public_keys(db)
    answer = await export(api, tenancy.auth, f"{WORKSPACE}.ndjson", include="proof")
    file = tmp_path / "export.ndjson"
    file.write_bytes(answer.content)
    verdict = verify_file(file, public_keys=keys)
    assert (verdict.ok, verdict.checked, verdict.checkpoint_seq) == (True, len(TRICKY), len(TRICKY))
    lines = answer.content.splitlines(keepends=True)
    file.write_bytes(b"".join(lines[: len(TRICKY) - 1] + lines[len(TRICKY) :]))
    assert not verify_file(file, public_keys=keys).ok
    filtered = await export(api, tenancy.auth, f"{WORKSPACE}.ndjson", include="proof", action="b")
    assert b'"checkpoint"' not in filtered.content


def widths() -> Iterable[tuple[int, int, float, int]]:
    """Width, bytes and seconds of a step; the next width."""
    yield 500, 0, 0.001, 2_000
    yield 500, 3 * 1024 * 1024, 0.01, 500
    yield 500, 30 * 1024 * 1024, 0.01, 50
    yield 500, 300 * 1024 * 1024, 0.01, 50
    yield 500, 0, 5.0, 50
    yield 1, 10 * 1024 * 1024, 0.1, 1
    yield 40_000, 0, 0.001, 50_000


@each(("width", "size", "seconds", "expected"), list(widths()))
def test_steps_widen_and_narrow(width: int, size: int, seconds: float, expected: int) -> None:
    assert export_forms.next_width(width, size, seconds, most=50_000) == expected


TOLD = Sql("test.told", "select actor, data from mainstay.announcements where name = 'events.exported' order by id")


async def told_of(db: Database) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(json.loads(row["actor"]), json.loads(row["data"])) for row in await db.rows(TOLD)]


@SCOPES
async def test_an_export_is_an_act_of_the_company(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, scope: str
) -> None:
    await send(api, tenancy.auth, [{"action": "a"}] * 3 + [{"action": "b"}])
    auth = auth_of(tenancy, scope)
    asked = {"action": "a", "from": "2020-01-01", "text": "A"}
    await export(api, auth, path_of(scope, "ndjson"), **asked, include="proof")
    await export(api, auth, path_of(scope, "csv"), action="b")
    (who, first), (_, second) = await told_of(db)
    assert who["kind"] == "api_key"
    assert first == {
        "workspaceId": tenancy.workspace_id if scope == "workspace" else None,
        "form": "ndjson",
        "filters": {**asked, "from": "2020-01-01T00:00:00.000000Z"},
        "withProof": True,
        "rows": 3,
        "cap": 250_000,
        "whole": True,
    }
    assert [second["form"], second["rows"], second["filters"]] == ["csv", 1, {"action": "b"}]


async def test_an_export_that_cannot_be_told_of_never_ends(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    await send(api, tenancy.auth, [{"action": "a"}])
    await db.run(Sql("test.break", "alter table mainstay.announcements rename to gone"))
    try:
        answer = await export(api, tenancy.auth)
    finally:
        await db.run(Sql("test.mend", "alter table mainstay.gone rename to announcements"))
    assert '"action":"a"' in answer.text
    assert '"meta"' not in answer.text
    assert await told_of(db) == []


@each("text", ["plain", 'a "b" \x03', '\x03\n",\x03'])
def test_a_row_of_csv_ends_alike_whatever_its_fields_hold(text: str) -> None:
    quoted = '"' + text.replace('"', '""') + '"'
    chunks = [bytearray(f"1,{quoted},f\x03\n2,,t\x03\n".encode()), bytearray(b"3,x,f\x03\n")]
    plain = sum(export_forms.marks_in("csv", chunk) for chunk in chunks) == 3
    assert plain is ("\x03" not in text)
    sent = b"".join(export_forms.on_the_way("csv", chunk, first=False, plain=plain) for chunk in chunks)
    assert sent.decode() == f"1,{quoted},f\r\n2,,t\r\n3,x,f\r\n"
