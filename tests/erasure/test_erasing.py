"""A person is taken out of everything that is kept, and every proof still stands."""

import json
import secrets
from datetime import timedelta
from typing import Any

import pytest

from mainstay import archive, events
from mainstay.kernel.db import Sql
from tests.erasure.conftest import ADA, BOB, ERASURES, Erasing
from tests.tenancy import Tenancy, open_tenancy

SPEAKING: list[dict[str, Any]] = [
    {"action": "doc.opened", "actor": ADA, "payload": {"doc": 1}},
    {"action": "doc.shared", "actor": BOB, "target": {"id": ADA["id"], "type": "user"}, "payload": {"note": "hello"}},
    {"action": "mail.sent", "actor": BOB, "payload": {"to": ["x@example.com", "ADA@example.com"], "big": 1e21}},
    {"action": "user.changed", "actor": BOB, "changes": [{"field": "name", "old": "Ada Lovelace", "new": None}]},
    {"action": "page.seen", "actor": BOB, "metadata": {"path": "/users/user-ada-7/profile", "n": 0.5}},
    {"action": "page.seen", "actor": BOB, "metadata": {"path": "/users/user-ada-77", "mail": "x.ada@example.org"}},
]


async def _rows(erasing: Erasing, tenancy: Tenancy) -> list[Any]:
    return await erasing.site.rows(tenancy)


async def test_a_person_is_gone_from_events_and_the_chain_is_proven(erasing_site: Erasing) -> None:
    tenancy = await erasing_site.site.company()
    await erasing_site.send(tenancy, SPEAKING)
    await erasing_site.send(tenancy, SPEAKING[:1], key=tenancy.other_key)
    before = await erasing_site.verdict(tenancy)
    kept = [dict(row) for row in await _rows(erasing_site, tenancy)]

    done = await erasing_site.erase(tenancy)

    assert done["state"] == "completed"
    assert done["found"]["events"] == 6
    assert done["found"]["parts"] == {"actor": 2, "target": 1, "payload": 1, "metadata": 1, "changes": 1}
    assert done["found"]["unproven"] == 0
    after = await erasing_site.verdict(tenancy)
    assert (after.ok, after.head, after.erased) == (True, before.head, 5)
    assert (await erasing_site.verdict(tenancy, tenancy.other_workspace_id)).erased == 1
    rows = await _rows(erasing_site, tenancy)
    assert [row["actor_id"] for row in rows] == [None, *[BOB["id"]] * 5]
    assert rows[0]["payload"] == kept[0]["payload"]
    assert (rows[2]["payload"], rows[3]["changes"], rows[4]["metadata"]) == (None, None, None)
    assert dict(rows[5]) == kept[5]
    assert bytes(rows[0]["salts"][:16]) == bytes(16)
    assert bytes(rows[0]["salts"][16:]) == bytes(kept[0]["salts"][16:])
    assert rows[0]["fingerprint"] is None
    assert await erasing_site.places_of() == []


async def test_a_dry_run_counts_the_same_and_changes_nothing(erasing_site: Erasing) -> None:
    tenancy = await erasing_site.site.company()
    await erasing_site.send(tenancy, SPEAKING)
    kept = [dict(row) for row in await _rows(erasing_site, tenancy)]
    counted = await erasing_site.erase(tenancy, dryRun=True)
    assert (counted["state"], counted["dryRun"]) == ("completed", True)
    assert [dict(row) for row in await _rows(erasing_site, tenancy)] == kept
    assert (await erasing_site.site.told("erasure.counted"))[0]["found"] == counted["found"]
    done = await erasing_site.erase(tenancy)
    assert done["found"]["parts"] == counted["found"]["parts"]
    assert done["found"]["events"] == counted["found"]["events"] == 5


async def test_only_the_parts_that_are_named_are_erased(erasing_site: Erasing) -> None:
    tenancy = await erasing_site.site.company()
    await erasing_site.send(tenancy, SPEAKING)
    done = await erasing_site.erase(tenancy, parts=["actor"])
    assert done["found"]["parts"] == {"actor": 1, "target": 0, "payload": 0, "metadata": 0, "changes": 0}
    rows = await _rows(erasing_site, tenancy)
    assert rows[1]["target_id"] == ADA["id"]
    rest = await erasing_site.erase(tenancy)
    assert rest["found"]["events"] == 4
    assert (await erasing_site.verdict(tenancy)).ok


async def test_it_is_on_record_what_was_erased_when_and_by_whom_without_the_person(erasing_site: Erasing) -> None:
    tenancy = await erasing_site.site.company()
    await erasing_site.send(tenancy, SPEAKING)
    done = await erasing_site.erase(tenancy, reason="Request 17 of a data subject")
    assert done["requestedBy"]["id"] == tenancy.company_key_id
    assert done["completedAt"] >= done["requestedAt"]
    told = await erasing_site.site.told("person.erased")
    assert [(one["erasureId"], one["found"]) for one in told] == [(done["id"], done["found"])]
    assert told[0]["subjectDigest"] == done["subjectDigest"]
    api, auth = erasing_site.site.api, tenancy.company_auth
    first = (await api.get(f"{ERASURES}/{done['id']}/events", params={"limit": 2}, headers=auth)).json()
    more = {"limit": 2, "cursor": first["meta"]["nextCursor"]}
    second = (await api.get(f"{ERASURES}/{done['id']}/events", params=more, headers=auth)).json()
    assert [(one["seq"], one["parts"]) for one in first["data"] + second["data"]] == [
        (1, ["actor"]),
        (2, ["target"]),
        (3, ["payload"]),
        (4, ["changes"]),
    ]
    stranger = await open_tenancy(erasing_site.db)
    for path in (f"{ERASURES}/{done['id']}", f"{ERASURES}/{done['id']}/events"):
        assert (await api.get(path, headers=stranger.company_auth)).status_code == 404


async def test_every_answer_and_export_shows_digests_in_place_of_salts(erasing_site: Erasing) -> None:
    tenancy = await erasing_site.site.company()
    await erasing_site.send(tenancy, SPEAKING)
    await erasing_site.erase(tenancy)
    api, auth = erasing_site.site.api, tenancy.auth
    listed = (await api.get("/v1/key/workspace/events?include=proof&order=asc", headers=auth)).json()["data"]
    exported = (await api.get("/v1/key/workspace/export.ndjson?include=proof", headers=auth)).text
    from_export = [json.loads(line) for line in exported.splitlines()]
    from_export = sorted((one for one in from_export if "seq" in one), key=lambda one: one["seq"])
    for shown in (listed, from_export):
        assert set(shown[0]["proof"]["digests"]) == {"actor"}
        assert set(shown[0]["proof"]["salts"]) == {"target", "payload", "metadata", "changes"}
        assert "digests" not in shown[5]["proof"]
    assert [one["proof"] for one in listed] == [one["proof"] for one in from_export]
    found = await api.get("/v1/key/workspace/events", params={"actorId": ADA["id"]}, headers=auth)
    assert found.json()["data"] == []


async def test_archived_days_lose_the_person_and_prove_themselves_as_before(erasing_site: Erasing) -> None:
    site = erasing_site.site
    tenancy = await site.company(plan="free")
    await erasing_site.send(tenancy, SPEAKING)
    await site.clock.move(timedelta(days=8))
    assert await site.run() == 6
    await erasing_site.send(tenancy, SPEAKING[:1])
    names = await site.names()
    assert len(names) == 1
    assert ADA["name"] in await erasing_site.text_of(names[0])

    done = await erasing_site.erase(tenancy)

    assert (done["found"]["objects"], done["found"]["events"]) == (1, 6)
    assert await erasing_site.places_of() == []
    verified = await archive.verify_all(site.ground)
    assert [(one.outcome, one.checked) for one in verified] == [("sound", 6)]
    assert (await erasing_site.verdict(tenancy)).ok
    again = await erasing_site.erase(tenancy)
    assert (again["found"]["events"], again["found"]["objects"]) == (0, 0)


async def test_events_that_left_the_table_are_erased_from_their_archive(erasing_site: Erasing) -> None:
    site = erasing_site.site
    tenancy = await site.company(plan="free")
    await erasing_site.send(tenancy, SPEAKING)
    await site.clock.move(timedelta(days=8))
    await site.run()
    await site.clock.move(timedelta(days=70))
    await archive.verify_all(site.ground)
    await erasing_site.send(tenancy, SPEAKING[:1])
    assert (await archive.cut(site.allowing(cuts=True).ground)).days or await _rows(erasing_site, tenancy)
    left = await _rows(erasing_site, tenancy)
    assert len(left) == 1
    counted = await erasing_site.erase(tenancy, dryRun=True)
    assert counted["found"]["events"] == 6
    done = await erasing_site.erase(tenancy)
    assert (done["found"]["events"], done["found"]["parts"]) == (6, counted["found"]["parts"])
    assert await erasing_site.places_of() == []
    assert [one.outcome for one in await archive.verify_all(site.ground)] == ["sound"]


async def test_copies_elsewhere_go_too(erasing_site: Erasing) -> None:
    site, db = erasing_site.site, erasing_site.db
    tenancy = await site.company()
    hook = {"url": "http://127.0.0.1:9/hook", "events": ["*"]}
    assert (await site.api.post("/v1/key/company/webhooks", json=hook, headers=tenancy.company_auth)).status_code == 201
    await erasing_site.send(tenancy, SPEAKING)
    delivery, message = await _delivery(erasing_site)
    await db.run(
        Sql(
            "t",
            """insert into mainstay.attempts (delivery_id, number, started_at, duration_ms, outcome, error,
                 response_headers, response_body, address, worker)
               values ($1, 1, now(), 1, 'failed', 'sent to ada@example.com', '{"x": "Ada Lovelace"}',
                       'echo of something else', '127.0.0.1', 'w')""",
        ),
        delivery,
    )
    await db.run(
        Sql(
            "t",
            """insert into mainstay.dead_jobs (id, enqueued_at, died_at, company_id, epoch, priority, attempt,
                 max_attempts, reason, queue, kind, lane, trace_id, error, payload)
               values (900001, now(), now(), $1, 1, 5, 1, 1, 'failed', 'q', 'k', '', '', 'no mailbox ada@example.com',
                       '{"to": "ada@example.com", "n": 7}'),
                      (900002, now(), now(), $2, 1, 5, 1, 1, 'failed', 'q', 'k', '', '', 'theirs: ada@example.com',
                       '{}')""",
        ),
        tenancy.company_id,
        "00000000-0000-7000-8000-000000000001",
    )
    await db.run(
        Sql(
            "t",
            """update mainstay.jobs set payload = '{"of": "user-ada-7"}'
                where id = (select min(id) from mainstay.jobs)""",
        )
    )
    await site.api.post(
        "/v1/key/company/erasures",
        json={"actorId": "x", "reason": "one that is in the outbox"},
        headers=tenancy.company_auth,
    )

    done = await erasing_site.erase(tenancy)

    assert done["found"]["copies"] >= 6
    body = json.loads(await db.value(Sql("t", "select body from mainstay.messages where id = $1"), message))
    assert (body["actorId"], body["actorName"], body["payload"]) == (None, None, {"doc": 1})
    attempt = await db.row(Sql("t", "select * from mainstay.attempts"))
    assert attempt is not None
    assert (attempt["response_body"], attempt["response_headers"], attempt["error"]) == ("", "{}", "sent to [erased]")
    dead = await db.row(Sql("t", "select * from mainstay.dead_jobs where id = 900001"))
    assert dead is not None
    assert (json.loads(dead["payload"]), dead["error"]) == ({"to": "[erased]", "n": 7}, "no mailbox [erased]")
    theirs = await db.value(Sql("t", "select error from mainstay.dead_jobs where id = 900002"))
    assert theirs == "theirs: ada@example.com"
    await db.run(Sql("t", "delete from mainstay.dead_jobs where id = 900002"))
    assert await erasing_site.places_of() == []


async def _delivery(erasing: Erasing) -> tuple[str, str]:
    row = await erasing.db.row(
        Sql("t", "select d.id::text, d.message_id::text from mainstay.deliveries d order by d.message_id limit 1")
    )
    assert row is not None
    return row["id"], row["message_id"]


async def test_nobody_elses_events_are_touched(erasing_site: Erasing) -> None:
    tenancy, stranger = await erasing_site.site.company(), await open_tenancy(erasing_site.db)
    await erasing_site.send(tenancy, SPEAKING)
    await erasing_site.send(stranger, SPEAKING)
    await erasing_site.erase(tenancy)
    rows = await erasing_site.site.rows(stranger)
    assert rows[0]["actor_email"] == ADA["email"]
    assert all(row["digests"] is None for row in rows)


async def test_what_comes_later_is_not_erased_and_needs_another(erasing_site: Erasing) -> None:
    tenancy = await erasing_site.site.company()
    await erasing_site.send(tenancy, SPEAKING[:1])
    asked = await erasing_site.ask(tenancy)
    await erasing_site.send(tenancy, SPEAKING[:1])
    await erasing_site.run(tenancy, asked["id"])
    assert [row["actor_id"] for row in await _rows(erasing_site, tenancy)] == [None, ADA["id"]]
    assert (await erasing_site.erase(tenancy))["found"]["events"] == 1
    assert await erasing_site.places_of() == []


async def test_the_same_request_sent_again_after_an_erasure_is_refused_not_stored_twice(erasing_site: Erasing) -> None:
    site = erasing_site.site
    tenancy = await site.company()
    headers = {**tenancy.auth, "idempotency-key": secrets.token_hex(8)}
    assert (await site.api.post("/v1/key/workspace/events", json=SPEAKING[0], headers=headers)).status_code == 201
    await erasing_site.erase(tenancy)
    assert (await site.api.post("/v1/key/workspace/events", json=SPEAKING[0], headers=headers)).status_code == 422


async def test_what_the_chain_holds_in_plain_is_counted(erasing_site: Erasing) -> None:
    tenancy = await erasing_site.site.company()
    await erasing_site.send(tenancy, [{"action": "login", "actor": BOB, "projectId": ADA["id"]}])
    done = await erasing_site.erase(tenancy)
    assert (done["found"]["events"], done["found"]["keptInActions"]) == (0, 1)


async def test_an_event_that_was_altered_is_erased_and_still_shows_that_it_was(erasing_site: Erasing) -> None:
    tenancy = await erasing_site.site.company()
    await erasing_site.send(tenancy, SPEAKING[:1])
    await erasing_site.db.run(
        Sql("t", "update mainstay.events set actor_name = 'Ada Byron' where category <> 'mainstay'")
    )
    done = await erasing_site.erase(tenancy)
    assert (done["found"]["events"], done["found"]["unproven"]) == (1, 1)
    bad = (await erasing_site.verdict(tenancy)).first_bad
    assert bad is not None
    assert (bad.kind, bad.seq) == ("edited", 1)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"reason": "asked"}, "#"),
        ({"actorId": "u"}, "#"),
        ({"actorId": "", "reason": "asked"}, "#/actorId"),
        ({"actorId": "x" * 257, "reason": "asked"}, "#/actorId"),
        ({"actorEmail": "no address", "reason": "asked"}, "#/actorEmail"),
        ({"actorId": "u", "reason": "ab"}, "#/reason"),
        ({"actorId": "u-17", "reason": "erase u-17 please"}, "#/reason"),
        ({"actorId": "u", "reason": "asked", "parts": []}, "#/parts"),
        ({"actorId": "u", "reason": "asked", "parts": ["action"]}, "#/parts/0"),
        ({"actorId": "u", "reason": "asked", "alsoKnownAs": ["ab"]}, "#/alsoKnownAs/0"),
        ({"actorId": "u", "reason": "asked", "alsoKnownAs": ["abc"] * 11}, "#/alsoKnownAs"),
        ({"actorId": "u", "reason": "asked", "everything": True}, "#"),
    ],
)
async def test_bad_requests_are_refused_with_what_is_wrong(
    api: Any, tenancy: Tenancy, body: dict[str, Any], pointer: str
) -> None:
    answer = await api.post(ERASURES, json=body, headers=tenancy.company_auth)
    assert answer.status_code == 400, answer.text
    assert next(one["pointer"] for one in answer.json()["errors"]).startswith(pointer)
    assert (await api.get(ERASURES, headers=tenancy.company_auth)).json()["data"] == []


async def test_there_are_at_most_twenty_under_way(erasing_site: Erasing) -> None:
    tenancy = await erasing_site.site.company()
    for _ in range(20):
        await erasing_site.ask(tenancy)
    body = {"actorId": "u", "reason": "asked"}
    answer = await erasing_site.site.api.post(ERASURES, json=body, headers=tenancy.company_auth)
    assert answer.status_code == 409


def test_a_text_stands_for_itself_and_not_for_longer_ones() -> None:
    person = events.Eraser.of(actor_id="u-1", actor_email="a.b@x.io").subject
    for text in ("u-1", "user:u-1", "/u/u-1/x", "by u-1.", "(u-1)", "A.B@X.io", "<a.b@x.io>", "mailto:a.b@x.io, b"):
        assert person.is_in(text), text
    for text in ("u-11", "u-1-2", "xu-1", "U-1", "u-1.example", "za.b@x.io", "a.b@x.io.uk", "c.a.b@x.io", "u-1@x"):
        assert not person.is_in(text), text
    assert events.Eraser.of(actor_id="42").subject.is_in({"n": [42]})
    assert not events.Eraser.of(actor_id="42").subject.is_in({"n": [420, 4.2, True]})
    assert events.Eraser.of(actor_id='q"\\\n').subject.is_in({'q"\\\n': 1})
