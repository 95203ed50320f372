"""Pages of erasures and holds as plain requests meet them: counted first, typed once more, and for owners alone."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from mainstay import erasure
from mainstay.console import erasures_form
from mainstay.erasure import erasing, gdpr
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.regions import Regions
from mainstay.kernel.work import Job
from tests.console.audit import Console
from tests.tenancy import test_settings

ERASURES = "/console/erasures"
HOLDS = "/console/holds"
ADA = {"id": "user-ada-7", "email": "ada@example.com", "name": "Ada Lovelace"}
ASKED = {"actorId": ADA["id"], "actorEmail": ADA["email"], "alsoKnownAs": "Ada Lovelace\n", "reason": "Request 17"}
EVERY = {"parts": ["actor", "target", "payload", "metadata", "changes"]}


async def _run(db: Database, run: Any, store: Path) -> None:
    """The waiting job of the room is carried out."""
    settings = test_settings(db.dsn, OBJECT_STORE=store.as_uri())
    ground = erasure.ground_of(settings, Regions(db, {}), Keyring(settings.secret, ()))
    claim = """update mainstay.jobs set state = 'active', worker_id = 1, epoch = epoch + 1, started_at = mainstay.now()
                where id = (select max(id) from mainstay.jobs where kind like 'erasure.%' and state = 'waiting')
               returning *, payload::text as given"""
    row = await db.row(Sql("t", claim))
    assert row is not None
    job = Job(
        row["id"], row["queue"], row["kind"], json.loads(row["given"]), row["attempt"], row["max_attempts"],
        row["epoch"], row["lane"], str(row["company_id"]), row["trace_id"], row["enqueued_at"],
    )  # fmt: skip
    assert await run(ground, db, job) is None


async def test_a_person_is_counted_typed_once_more_and_erased(console: Console, db: Database, tmp_path: Path) -> None:
    assert "Nobody was erased yet" in (await console.get(ERASURES)).text
    await console.send(actor=ADA, payload={"note": "hello"})
    counted = await console.post(ERASURES, **ASKED, **EVERY)
    assert counted.status_code == 303, counted.text
    one = counted.headers["location"]
    assert "Load again" in (await console.get(one)).text
    early = await console.post(f"{one}/erase", **ASKED)
    assert early.status_code == 409
    await _run(db, erasing.run, tmp_path)
    shown = (await console.get(one)).text
    assert "Nothing was changed." in shown
    assert "1 event would lose every part" in shown
    assert ADA["id"] not in shown
    for other in ({"actorId": "user-ada-8"}, {"actorEmail": ""}):
        refused = await console.post(f"{one}/erase", **{**ASKED, **other})
        assert refused.status_code == 400
        assert "This is not whom the count was of" in refused.text
    assert (await console.post(f"{one}/erase", **ASKED)).status_code == 303
    await _run(db, erasing.run, tmp_path)
    actors = Sql("t", "select actor_id, payload from mainstay.events where action = 'user.signed_in'")
    row = await db.row(actors)
    assert row is not None
    assert (row["actor_id"], row["payload"]) == (None, '{"note":"hello"}')
    listed = (await console.get(ERASURES)).text
    assert listed.count("Request 17") == 2
    last = Sql("t", "select id::text from mainstay.erasures where not is_dry_run")
    done = (await console.get(f"{ERASURES}/{await db.value(last)}")).text
    assert "does not hold the person any more" in done
    assert "Where" in done
    assert "Owner Person" in done


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"actorId": "", "actorEmail": ""}, "actorId", "Type an id, an email, or both."),
        ({"actorEmail": "nowhere"}, "actorEmail", "Expected `str` matching regex"),
        ({"reason": ""}, "reason", "Say why"),
        ({"reason": "of user-ada-7"}, "reason", "do not name the person"),
        ({"alsoKnownAs": "Ada Lovelace\nab"}, "alsoKnownAs", "Line 2: "),
        ({"parts": []}, "parts", "Tick at least one part."),
    ],
)
async def test_what_is_wrong_stands_at_its_field(
    console: Console, given: dict[str, Any], field: str, words: str
) -> None:
    answer = await console.post(ERASURES, **{**ASKED, **EVERY, **given})
    assert answer.status_code == 400
    assert f'<a href="#field-{field}">' in answer.text
    assert words in answer.text.replace("&#34;", '"')
    assert "Request 17" in answer.text or "reason" in given
    assert "Nobody was erased yet" in (await console.get(ERASURES)).text


async def test_a_hold_is_set_wins_and_is_lifted(console: Console, db: Database, tmp_path: Path) -> None:
    assert "Nothing is held" in (await console.get(HOLDS)).text
    await console.send(actor=ADA)
    counted = (await console.post(ERASURES, **ASKED, **EVERY)).headers["location"]
    await _run(db, erasing.run, tmp_path)
    for given, words in (
        ({"scope": "workspace"}, "Choose a workspace."),
        ({"scope": "workspace", "workspaceId": "00000000-0000-7000-8000-00000000dead"}, "There is no such workspace."),
        ({"scope": "subject"}, "Type an id, an email, or both."),
        ({"scope": "subject", "actorId": "u-1", "reason": "of u-1"}, "do not name the person"),
        ({"reason": ""}, "Say why"),
    ):
        refused = await console.post(HOLDS, **{"reason": "Case 11", **given})
        assert (refused.status_code, words in refused.text) == (400, True), given
    made = await console.post(HOLDS, scope="subject", actorEmail=ADA["email"], reason="Case 11")
    one = made.headers["location"]
    assert ADA["email"] in (await console.get(one)).text
    held = await console.post(f"{counted}/erase", **ASKED)
    assert (held.status_code, "keeps this data" in held.text) == (400, True)
    assert (await console.post(f"{one}/lift")).status_code == 303
    lifted = (await console.get(one)).text
    assert ADA["email"] not in lifted
    assert "A person, forgotten since" in lifted
    assert (await console.post(f"{counted}/erase", **ASKED)).status_code == 303


async def test_what_is_stored_about_a_person_is_fetched_by_owners(
    console: Console, db: Database, tmp_path: Path
) -> None:
    await console.send(actor=ADA)
    assert (await console.post(f"{ERASURES}/exports")).status_code == 400
    assert (await console.post(f"{ERASURES}/exports", actorId=ADA["id"])).status_code == 303
    await _run(db, gdpr.run, tmp_path)
    shown = (await console.get(ERASURES)).text
    href = shown.partition('href="/console/erasures/exports/')[2].partition('"')[0]
    file = await console.get(f"{ERASURES}/exports/{href}")
    assert file.headers["content-disposition"].startswith('attachment; filename="person-')
    assert gzip.decompress(file.content).count(b"\n") == 1
    assert (await console.get(f"{ERASURES}/exports/{href}", "manager")).status_code == 403


async def test_the_areas_are_the_owners_alone(console: Console) -> None:
    for role, is_there in (("owner", True), ("manager", False), ("staff", False)):
        text = (await console.get("/console", role)).text
        assert (f'href="{ERASURES}"' in text, f'href="{HOLDS}"' in text) == (is_there, is_there)


def test_forms_keep_what_was_typed() -> None:
    draft = erasures_form.read_count({"actorId": " u ", "alsoKnownAs": "a b\r\n\r\n c ", "reason": " r "}, ["payload"])
    assert draft.given == {
        "actorId": "u", "alsoKnownAs": ["a b", "c"], "reason": "r", "dryRun": True, "parts": ["payload"]
    }  # fmt: skip
    assert (draft.typed["alsoKnownAs"], draft.wrong) == ("a b\n\n c", {})
