"""Pages of the audit log as plain requests meet them: exports, saved filters, and what is each one's own."""

import csv
import io

import orjson
import pytest

from mainstay import plans
from mainstay.console.usage import WIDTH, bar_of
from mainstay.console.usage_form import target_of
from mainstay.kernel.db import Database, Sql
from tests.console.audit import Console, archived
from tests.tenancy import OPERATOR, Tenancy

EVENTS = "/console/events"
ARCHIVE = "/console/archive"
USAGE = "/console/usage"


async def test_an_export_is_what_the_list_shows_and_is_told_with_its_person(console: Console, db: Database) -> None:
    for n in range(3):
        await console.send(projectId="p-1", payload={"n": n})
    await console.send(projectId="p-2")
    answer = await console.get(f"{EVENTS}/export.csv?projectId=p-1&from=1h", "staff")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith('attachment; filename="events-')
    assert answer.headers["x-export-truncated"] == "false"
    assert len(list(csv.DictReader(io.StringIO(answer.text)))) == 3
    lines = (await console.get(f"{EVENTS}/export.ndjson?projectId=p-2")).text.splitlines()
    assert orjson.loads(lines[0])["projectId"] == "p-2"
    whole = orjson.loads((await console.get(f"{EVENTS}/export.json?projectId=p-1")).content)
    assert len(whole["data"]) == 3
    told = await db.rows(
        Sql("t", "select actor, data from mainstay.announcements where name = 'events.exported' order by id")
    )
    people = [orjson.loads(row["actor"]) for row in told]
    assert [(one["kind"], one["name"]) for one in people] == [
        ("person", f"{who} Person") for who in ("Staff", *["Owner"] * 2)
    ]
    assert all("@example.com" in one["email"] for one in people)
    acts = [orjson.loads(row["data"]) for row in told]
    assert [(one["form"], one["rows"], one["whole"]) for one in acts] == [
        ("csv", 3, True), ("ndjson", 1, True), ("json", 3, True)
    ]  # fmt: skip
    assert [one["filters"]["projectId"] for one in acts] == ["p-1", "p-2", "p-1"]
    assert "from" in acts[0]["filters"]


async def test_an_export_keeps_to_the_workspace_and_the_company(console: Console) -> None:
    await console.send(projectId="p-here")
    await console.post("/console/place", workspace=console.tenancy.other_workspace_id)
    assert len((await console.get(f"{EVENTS}/export.csv?projectId=p-here")).text.splitlines()) == 1
    assert len((await console.get(f"{EVENTS}/export.csv?projectId=p-here", "manager")).text.splitlines()) == 2
    assert (await console.get(f"{EVENTS}/export.csv?from=never")).status_code == 400


async def test_the_cap_of_the_plan_is_told_before(console: Console, db: Database) -> None:
    await console.send()
    assert "The plan growth gives up to 250\u202f000, so it will be whole" in (await console.get(EVENTS)).text
    async with db.begin() as tx:
        await plans.set_plan(tx, OPERATOR, console.tenancy.company_id, plan="enterprise")
    assert "Your plan sets no limit" in (await console.get(EVENTS)).text
    async with db.begin() as tx:
        await plans.set_limit(tx, OPERATOR, console.tenancy.company_id, name="export_rows", amount=1)
    await console.send()
    assert "At most 1 event<" in (await console.get(EVENTS)).text
    assert (await console.get(f"{EVENTS}/export.csv")).headers["x-export-truncated"] == "true"
    assert (
        f'href="{EVENTS}/export.csv?action=user.signed_in"'
        in (await console.get(f"{EVENTS}?action=user.signed_in")).text
    )


async def test_filters_are_kept_applied_and_deleted_by_their_person_alone(console: Console) -> None:
    made = await console.post(f"{EVENTS}/saved", "staff", **{"as": " Sign  ins ", "action": "user.signed_in", "x": "y"})
    assert (made.status_code, made.headers["location"]) == (303, f"{EVENTS}?action=user.signed_in")
    page = (await console.get(EVENTS, "staff")).text
    assert "Kept as Sign ins" in page
    assert f'<a href="{EVENTS}?action=user.signed_in">' in page
    assert "Sign ins" not in (await console.get(EVENTS)).text
    saved = page.partition('name="saved" value="')[2].partition('"')[0]
    assert (await console.post(f"{EVENTS}/saved/delete", saved=saved)).status_code == 404
    assert (await console.post(f"{EVENTS}/saved/delete", "staff", saved=saved)).status_code == 303
    assert "Delete the saved filter" not in (await console.get(EVENTS, "staff")).text


async def test_what_cannot_be_kept_is_refused(console: Console) -> None:
    for fields, words in (
        ({"as": "x" * 61, "action": "a"}, "must have 1 to 60 characters"),
        ({"as": "", "action": "a"}, "must have 1 to 60 characters"),
        ({"as": "a\x00b", "action": "a"}, "must have 1 to 60 characters"),
        ({"as": "none"}, "There is no filter to save"),
        ({"as": "when", "from": "soon"}, "must be a date"),
    ):
        answer = await console.post(f"{EVENTS}/saved", **fields)
        assert answer.status_code == 400
        assert words in answer.text
    for n in range(30):
        assert (await console.post(f"{EVENTS}/saved", **{"as": f"n{n}", "action": "a"})).status_code == 303
    assert "You keep 30 filters already" in (await console.post(f"{EVENTS}/saved", **{"as": "o", "action": "a"})).text
    replaced = await console.post(f"{EVENTS}/saved", **{"as": "n0", "action": "b"})
    assert replaced.status_code == 303
    assert f'<a href="{EVENTS}?action=b" aria-current="true">' in (await console.get(f"{EVENTS}?action=b")).text


def day(tenancy: Tenancy, day: str = "2026-01-02", workspace_id: str = "") -> str:
    """The address of a day of the archive."""
    return f"{ARCHIVE}/days/{day}.{workspace_id or tenancy.workspace_id}"


async def test_days_of_the_archive_say_how_they_stand(console: Console, db: Database) -> None:
    assert "No archive yet" in (await console.get(ARCHIVE)).text
    async with db.begin() as tx:
        await plans.grant_add_on(tx, OPERATOR, console.tenancy.company_id, code=plans.RETENTION_S3_ARCHIVE)
    assert "Nothing has left the window yet" in (await console.get(ARCHIVE)).text
    await archived(db, console.tenancy, "2026-01-02")
    page = (await console.get(ARCHIVE, "staff")).text
    assert "All archived days are sound" in page
    assert "2.0 KB" in page
    finding = {"line": 7, "seq": 5, "id": "e-5", "kind": "hash", "detail": "the hash is of other content"}
    await archived(db, console.tenancy, "2026-01-03", outcome="damaged", finding=orjson.dumps(finding).decode())
    page = (await console.get(ARCHIVE)).text
    assert "1 archived day is not sound" in page
    assert "from event 5 on" in page
    one = (await console.get(day(console.tenancy, "2026-01-03"))).text
    assert "line 7" in one
    assert "the hash is of other content" in one
    assert "Its events are still in the table, so nothing is lost." in one


async def test_a_day_is_verified_and_archived_by_those_who_may(console: Console, db: Database) -> None:
    await archived(db, console.tenancy, "2026-01-02", last_seq=12)
    here = day(console.tenancy)
    assert (await console.post(f"{here}/verify", "staff")).status_code == 403
    assert (await console.post(f"{here}/verify", "manager")).headers["location"] == here
    refused = await console.post(f"{here}/archive")
    assert (refused.status_code, "does not hold the archive add-on" in refused.text) == (409, True)
    async with db.begin() as tx:
        await plans.grant_add_on(tx, OPERATOR, console.tenancy.company_id, code=plans.RETENTION_S3_ARCHIVE)
    assert (await console.post(f"{here}/archive")).status_code == 303
    found = Sql("test.jobs", "select kind, payload from mainstay.jobs where queue = 'mainstay:archive' order by kind")
    rows = await db.rows(found)
    assert [row["kind"] for row in rows] == ["archive.day", "archive.verify_workspace"]
    assert all(orjson.loads(row["payload"])["day"] == "2026-01-02" for row in rows)
    assert (await console.post(f"{ARCHIVE}/runs", step="mark")).status_code == 403


async def test_dates_of_an_archive_that_are_none(console: Console) -> None:
    for query in ("from=soon", "to=2026-13-01", "from=2026-02-02&to=2026-02-01"):
        assert (await console.get(f"{ARCHIVE}/export.json?{query}")).status_code == 400
    answer = await console.get(f"{ARCHIVE}/export.json?from=2026-01-01&to=2026-01-01", "staff")
    assert answer.headers["content-disposition"].startswith('attachment; filename="archive-')
    assert orjson.loads(answer.content)["data"] == []


async def test_usage_against_the_quota_with_its_lines(console: Console) -> None:
    await console.send()
    page = (await console.get(USAGE, "staff")).text
    assert "Within the plan." in page
    assert "1\u202f000\u202f000" in page
    assert "Set threshold" not in page
    made = await console.post(f"{USAGE}/thresholds", amount="80 %", targets="ops@example.com")
    assert made.status_code == 303
    page = (await console.get(USAGE)).text
    assert "Soft, 80 %" in page
    assert "ops@example.com" in page
    assert "ops@example.com" not in (await console.get(USAGE, "staff")).text
    assert '<line class="meter-soft"' in page
    threshold = page.partition(f"{USAGE}/thresholds/")[2].partition("/delete")[0]
    assert (await console.post(f"{USAGE}/thresholds/{threshold}/delete", "staff")).status_code == 403
    assert (await console.post(f"{USAGE}/thresholds/{threshold}/delete")).status_code == 303
    assert "Soft, 80 %" not in (await console.get(USAGE)).text


async def test_a_threshold_that_cannot_be_says_where(console: Console) -> None:
    for fields, words in (
        ({"amount": "many"}, "Must be a whole number of at least 1."),
        ({"amount": "1001"}, "a percentage is from 1 to 1000"),
        ({"amount": "80", "targets": "ops@example.com\nnobody"}, "Line 2: must be an email address"),
        ({"amount": "80", "kind": "loud"}, "Must be soft or hard."),
    ):
        answer = await console.post(f"{USAGE}/thresholds", **fields)
        assert answer.status_code == 400
        assert words in answer.text
        assert '<details class="fold form" open>' in answer.text


async def test_the_secret_of_an_alert_is_shown_once(console: Console) -> None:
    fields = {"amount": "5", "unit": "absolute", "kind": "hard", "targets": "http://127.0.0.1:9/alerts"}
    made = await console.post(f"{USAGE}/thresholds", **fields)
    assert made.status_code == 201
    assert "whsec_" in made.text
    assert "whsec_" not in (await console.get(USAGE)).text


async def test_a_company_chooses_what_happens_at_its_limit(console: Console) -> None:
    await console.post(f"{USAGE}/thresholds", amount="1", unit="absolute", kind="hard")
    await console.send()
    assert (await console.post(f"{USAGE}/blocking", "staff", blocks="1")).status_code == 403
    assert (await console.post(f"{USAGE}/blocking", blocks="1")).status_code == 303
    page = (await console.get(USAGE)).text
    assert "Events are refused: the limit is reached." in page
    assert (await console.post(f"{USAGE}/blocking", blocks="0")).status_code == 303
    assert "Events are taken beyond the limit" in (await console.get(USAGE)).text


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (" ops@example.com ", "email"),
        ("https://hooks.slack.com/services/T/B/x", "slack"),
        ("https://example.com/hook", "webhook"),
    ],
)
def test_where_alerts_go_is_told_by_its_looks(line: str, kind: str) -> None:
    assert target_of(line) == {"kind": kind, "to": line.strip()}


def test_the_bar_is_as_wide_as_the_most_that_it_shows() -> None:
    bar = bar_of(50, 90, 100, [("soft", "Soft, 40 %", 40), ("hard", "Hard", None)])
    assert [(one.kind, one.is_reached) for one in bar.marks] == [("soft", True), ("quota", False)]
    assert 0 < bar.used < bar.projected < bar.marks[1].at < WIDTH
    assert bar_of(0, 0, None, []).used == 0
