"""Templates, event schemas and streams as plain requests meet them: made, changed, refused, and by whom."""

import pytest

from mainstay.console.streams_form import read as read_stream
from mainstay.console.streams_form import read_change
from mainstay.console.templates_form import line_of
from mainstay.kernel.db import Database, Sql
from tests.console.audit import Console

TEMPLATES = "/console/templates"
SCHEMAS = "/console/schemas"
STREAMS = "/console/streams"
SCHEMA = """{
  "type": "object",
  "properties": {
    "payload": {"type": "object",
      "properties": {
        "amount": {"type": "nomber"}
      }}
  }
}"""


async def test_a_template_is_made_given_changed_and_deleted(console: Console) -> None:
    assert "No templates yet" in (await console.get(TEMPLATES)).text
    fields = {"name": "Finance", "mode": "enforce", "actor-email": "1", "projectRequired": "1", "retentionDays": "30",
              "requiredMetadataKeys": "ip\n", "defaultCategories": "invoice.* = billing"}  # fmt: skip
    assert (await console.post(TEMPLATES, "staff", **fields)).status_code == 403
    made = await console.post(TEMPLATES, "manager", **fields)
    here = made.headers["location"]
    page = (await console.get(here, "staff")).text
    for words in ("Finance", "invoice.* → billing", "30 days", "is required", "refuses"):
        assert words in page
    given = await console.post(f"{here}/assign", workspace=console.tenancy.workspace_id, has="1")
    assert given.status_code == 303
    assert "Take away" in (await console.get(here)).text
    refused = await console.app.post(
        "/v1/key/workspace/events", json={"action": "a", "actor": {"id": "u"}}, headers=console.tenancy.auth
    )
    assert refused.status_code == 422
    form = (await console.get(f"{here}/edit")).text
    assert "invoice.* = billing" in form
    assert (await console.post(f"{here}/edit", name="Money", mode="flag")).headers["location"] == here
    assert "asks for nothing" in (await console.get(here)).text
    assert (await console.post(f"{here}/assign", workspace=console.tenancy.workspace_id, has="0")).status_code == 303
    assert (await console.post(f"{here}/delete")).status_code == 303
    assert (await console.get(here)).status_code == 404


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, "of length"),
        ({"name": "n", "retentionDays": "soon"}, "Must be a whole number of days"),
        ({"name": "n", "retentionDays": "40000"}, "&lt;= 36500"),
        ({"name": "n", "requiredMetadataKeys": "ip\nip"}, "ip: Is named twice"),
        ({"name": "n", "defaultCategories": "billing"}, "Line 1: write action = category"),
        ({"name": "n", "mode": "shout"}, "Invalid enum value"),
    ],
)
async def test_a_template_that_cannot_be_says_where(fields: dict[str, str], words: str, console: Console) -> None:
    answer = await console.post(TEMPLATES, **fields)
    assert answer.status_code == 400
    assert words in answer.text
    assert "Nothing was saved" in answer.text


async def test_a_schema_is_made_and_its_versions_stay(console: Console) -> None:
    assert "No event schemas yet" in (await console.get(SCHEMAS)).text
    good = SCHEMA.replace("nomber", "number")
    made = await console.post(SCHEMAS, action="invoice.paid", mode="enforce", schema=good)
    here = made.headers["location"]
    changed = await console.post(f"{here}/edit", mode="warn", schema=good.replace("number", "integer"))
    assert changed.status_code == 303
    page = (await console.get(here, "staff")).text
    assert "Version 2, in force" in page
    assert "integer" in page
    assert "number" in (await console.get(f"{here}?version=1")).text
    assert (await console.get(f"{here}?version=9")).status_code == 404
    assert (await console.post(f"{here}/delete", "staff")).status_code == 403
    assert (await console.post(f"{here}/delete")).status_code == 303
    assert (await console.get(here)).status_code == 404


async def test_a_schema_that_cannot_be_says_at_which_line(console: Console) -> None:
    for schema, words in (
        (SCHEMA, "Line 6, /properties/payload/properties/amount/type"),
        ('{"type":\n  objekt}', "Line 2, column 3: this is not JSON"),
        ("[]", "Must be a JSON Schema"),
    ):
        answer = await console.post(SCHEMAS, action="invoice.paid", schema=schema)
        assert answer.status_code == 400
        assert words in answer.text
    answer = await console.post(SCHEMAS, action="not an action", schema="{}")
    assert 'href="#field-action"' in answer.text
    elsewhere = await console.post(SCHEMAS, action="a", schema="{}", workspaceId="00000000-0000-7000-8000-00000000dead")
    assert "The company has no such workspace" in elsewhere.text
    assert (await console.post(SCHEMAS, action="a", schema="{}")).status_code == 303
    assert (await console.post(SCHEMAS, action="a", schema="{}")).status_code == 400


async def test_a_stream_is_made_paused_probed_and_deleted(console: Console) -> None:
    assert "No streams yet" in (await console.get(STREAMS)).text
    made = await console.post(STREAMS, name="Lake", type="https", url="http://127.0.0.1:9/in", actions="user.*")
    assert made.status_code == 201
    assert "whsec_" in made.text
    page = (await console.get(STREAMS, "staff")).text
    here = page.partition(f'href="{STREAMS}/')[2].partition('"')[0]
    here = f"{STREAMS}/{here}"
    assert "whsec_" not in (await console.get(here)).text
    assert (await console.post(f"{here}/act", "staff", do="pause")).status_code == 403
    for do, words in (("pause", "Nothing goes out."), ("resume", "goes out within seconds"), ("probe", "waiting")):
        assert (await console.post(f"{here}/act", do=do)).headers["location"] == here
        assert words in (await console.get(here)).text
    assert (await console.post(f"{here}/act", do="shout")).status_code == 400
    form = (await console.get(f"{here}/edit")).text
    assert 'value="http://127.0.0.1:9/in"' in form
    assert 'id="field-bucket"' not in form, "another destination is another stream"
    assert (await console.get(f"{here}/edit", "staff")).status_code == 403
    typed = {"name": "Lake", "actions": "user.*", "onRefusal": "skip", "form": "ocsf"}
    refused = await console.post(f"{here}/edit", **typed, url="http://10.0.0.1/")
    assert (refused.status_code, 'href="#field-url"' in refused.text) == (400, True)
    changed = await console.post(f"{here}/edit", **typed, url="http://127.0.0.1:9/other")
    assert changed.headers["location"] == here
    for words in ("127.0.0.1:9/other", "OCSF", "is put aside"):
        assert words in (await console.get(here)).text
    assert (await console.post(f"{here}/backfill", since="yesterday")).status_code == 400
    assert (await console.post(f"{here}/backfill", "staff", since="2026-01-01")).status_code == 403
    assert (await console.post(f"{here}/backfill", since="2026-01-01")).headers["location"] == here
    assert "since 2026-01-01" in (await console.get(here)).text
    await console.post(f"{here}/act", do="cancel-backfill")
    assert "cancelled" in (await console.get(here)).text
    assert (await console.post(f"{here}/delete", confirm="Sea")).status_code == 400
    assert (await console.post(f"{here}/delete", confirm="Lake")).status_code == 303
    assert (await console.get(here)).status_code == 404


async def test_a_stream_that_cannot_be_says_where_and_shows_no_secret(console: Console) -> None:
    answer = await console.post(STREAMS, name="S", type="splunk", splunkUrl="http://10.0.0.1/", token="t0p-secret")
    assert answer.status_code == 400
    assert 'href="#field-splunkUrl"' in answer.text
    assert "t0p-secret" not in answer.text
    missing = await console.post(STREAMS, type="s3", secretAccessKey="k")
    assert all(f'href="#field-{name}"' in missing.text for name in ("name", "bucket", "accessKeyId"))
    assert 'href="#field-secretAccessKey"' not in missing.text


async def test_an_event_that_is_refused_is_shown_put_aside_and_sent_again(console: Console, db: Database) -> None:
    await console.post(STREAMS, name="Lake", type="https", url="http://127.0.0.1:9/in")
    await console.send()
    event = str(await db.value(Sql("t", "select id from mainstay.events where action = 'user.signed_in' limit 1")))
    blocked = Sql(
        "t",
        """update mainstay.streams set reason = 'answered 422', state = 'failing', failing_since = mainstay.now(),
             blocked = jsonb_build_object('eventId', $1::text, 'workspaceId', $2::text, 'seq', 1, 'part', 'live',
               'tries', 1, 'receivedAt', '2026-01-01T00:00:00+00:00', 'since', '2026-01-01T00:00:00.000Z')""",
    )
    await db.run(blocked, event, console.tenancy.workspace_id)
    page = (await console.get(STREAMS, "staff")).text
    here = f"{STREAMS}/" + page.partition(f'href="{STREAMS}/')[2].partition('"')[0]
    shown = (await console.get(here)).text
    assert "The destination refuses one event" in shown
    assert f'href="/console/events/{event}"' in shown
    assert (await console.post(f"{here}/act", do="skip")).headers["location"] == here
    shown = (await console.get(here, "staff")).text
    assert "1 event that the destination refused" in shown
    assert "Put the event aside" not in shown
    assert f'value="{event}"' not in shown
    assert "is put aside" in (await console.get(STREAMS)).text
    assert (await console.post(f"{here}/aside", "staff", do="send")).status_code == 403
    assert (await console.post(f"{here}/aside", do="keep")).status_code == 400
    await console.post(f"{here}/aside", do="send", event=event)
    assert "waiting" in (await console.get(here)).text
    await console.post(f"{here}/aside", do="forget")
    assert "that the destination refused" not in (await console.get(here)).text


def test_what_a_changed_stream_form_means() -> None:
    """What the form does not show stays, and a secret goes nowhere new without being typed."""
    one = {
        "name": "d", "form": "native", "onRefusal": "stop",
        "filter": {"actions": ["a"], "categories": ["c"], "workspaceIds": []},
        "destination": {"type": "splunk", "url": "https://a.example", "index": "i", "source": "s", "acknowledge": True},
    }  # fmt: skip
    same = {"name": "d", "splunkUrl": "https://a.example", "index": "i", "actions": "b"}
    draft = read_change(same, one)
    assert (draft.wrong, "destination" in draft.given) == ({}, False)
    assert draft.given["filter"] == {"actions": ["b"], "categories": ["c"], "workspaceIds": []}
    assert set(read_change({**same, "splunkUrl": "https://b.example"}, one).wrong) == {"token"}
    moved = read_change({**same, "splunkUrl": "https://b.example", "index": "", "token": "t"}, one)
    assert moved.wrong == {}
    assert moved.given["destination"] == {
        "type": "splunk", "url": "https://b.example", "source": "s", "acknowledge": True, "token": "t",
    }  # fmt: skip
    assert set(read_change({**same, "splunkUrl": ""}, one).wrong) == {"splunkUrl", "token"}


def test_what_a_stream_form_means() -> None:
    draft = read_stream({"name": "d", "type": "datadog", "apiKey": "k", "tags": "a:b, c:d", "site": "datadoghq.eu"})
    assert draft.wrong == {}
    assert draft.given["destination"] == {
        "type": "datadog", "apiKey": "k", "tags": ["a:b", "c:d"], "site": "datadoghq.eu",
    }  # fmt: skip
    syslog = read_stream({"name": "d", "type": "syslog", "host": "h", "port": "x"})
    assert set(syslog.wrong) == {"port"}


@pytest.mark.parametrize(
    ("pointer", "line"),
    [("", 1), ("/a", 2), ("/b", 3), ("/b/1", 5), ("/b/1/c~1d", 6), ("/none", 1), ("/b/9", 3), ("/a/deeper", 2)],
)
def test_where_a_pointer_leads(pointer: str, line: int) -> None:
    text = '{\n  "a": "x,]",\n  "b": [\n    1,\n    {\n      "c/d": null}]\n}'
    assert line_of(text, pointer) == line
