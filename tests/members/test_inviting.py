"""Invitations as their company sees them: made, renewed, listed, sent again, withdrawn."""

import asyncio
from datetime import timedelta

import pytest

from mainstay.members import members
from mainstay.members.tasks import PRUNE, tasks
from tests.conftest import SqlClock, running_app
from tests.members.conftest import DEPARTMENTS, INVITES, PASSWORD, Crew, pointers, refused
from tests.tenancy import bearer, open_tenancy


async def test_an_invitation_goes_by_letter_and_its_link_stands_nowhere_else(crew: Crew) -> None:
    made, token = await crew.invited("Ann@Example.com", "staff", "manager", features=["usage", "events"])
    assert (made["email"], made["role"], made["features"]) == ("Ann@Example.com", "staff", ["events", "usage"])
    assert (made["state"], made["timesSent"], made["invitedBy"]["name"]) == ("open", 1, "Manager")
    told = await crew.announced("member.invited")
    assert [(data["email"], data["role"], data["renewed"], data["by"]) for _, data in told] == [
        ("Ann@Example.com", "staff", False, crew.ids["manager"])
    ]
    shown = [made, await crew.done("GET", f"{INVITES}/{made['id']}"), await crew.done("GET", INVITES), told]
    assert token not in str(shown)
    async with crew.db.connection() as connection:
        for table in ("invitations", "letters", "one_time_links", "announcements", "made_once"):
            rows = await connection.fetch(f"select to_jsonb(t)::text from mainstay.{table} t")
            assert token not in str(rows), table


async def test_the_same_address_again_renews_its_invitation(crew: Crew, sql_clock: SqlClock) -> None:
    first, old = await crew.invited("ann@example.com")
    await sql_clock.move(timedelta(days=8))
    assert (await crew.done("GET", f"{INVITES}/{first['id']}"))["state"] == "expired"
    again, new = await crew.invited("ANN@EXAMPLE.COM", "manager")
    assert (again["id"], again["role"], again["state"], again["timesSent"]) == (first["id"], "manager", "open", 2)
    assert again["expiresAt"] > first["expiresAt"]
    refused(await crew.api.get(f"{INVITES}/accept", params={"token": old}), 400, "link-over")
    assert (await crew.api.get(f"{INVITES}/accept", params={"token": new})).json()["role"] == "manager"
    assert [data["renewed"] for _, data in await crew.announced("member.invited")] == [False, True]

    sent = await crew.done("POST", f"{INVITES}/{first['id']}/resend")
    assert (sent["timesSent"], sent["role"]) == (3, "manager")
    refused(await crew.api.get(f"{INVITES}/accept", params={"token": new}), 400, "link-over")
    assert (await crew.done("GET", INVITES))["meta"]["total"] == 1


async def test_several_invitations_of_an_address_at_once_are_one(crew: Crew) -> None:
    body = {"email": "ann@example.com", "role": "staff"}
    made = await asyncio.gather(*(crew.done("POST", INVITES, json=body) for _ in range(4)))
    assert len({one["id"] for one in made}) == 1
    assert sorted(one["timesSent"] for one in made) == [1, 2, 3, 4]


async def test_a_repeated_request_sends_one_letter(crew: Crew) -> None:
    key, body = {"idempotency-key": "k-1"}, {"email": "ann@example.com", "role": "staff"}
    first = await crew.done("POST", INVITES, json=body, headers=key)
    assert await crew.done("POST", INVITES, json=body, headers=key) == first
    other = await crew.call("POST", INVITES, json={**body, "role": "manager"}, headers=key)
    refused(other, 422, "idempotency-mismatch")
    assert (await crew.done("POST", INVITES, "manager", json=body, headers=key))["timesSent"] == 2
    assert await crew.letters("ann@example.com") == ["invitation"] * 2
    refused(await crew.call("POST", INVITES, json=body, headers={"idempotency-key": "x" * 256}), 400)


async def test_invitations_are_listed_by_state_newest_first(crew: Crew, sql_clock: SqlClock) -> None:
    late, _ = await crew.invited("late@example.com")
    await sql_clock.move(timedelta(days=7, seconds=1))
    gone, _ = await crew.invited("gone@example.com")
    taken, token = await crew.invited("taken@example.com")
    waiting, _ = await crew.invited("waiting@example.com")
    for _ in range(2):
        assert (await crew.done("DELETE", f"{INVITES}/{gone['id']}"))["state"] == "withdrawn"
    joined = await crew.api.post(f"{INVITES}/accept", json={"token": token, "name": "T", "password": PASSWORD})
    listed = await crew.done("GET", INVITES)
    assert [(one["id"], one["state"]) for one in listed["data"]] == [
        (waiting["id"], "open"), (taken["id"], "accepted"), (gone["id"], "withdrawn"), (late["id"], "expired"),
    ]  # fmt: skip
    assert listed["data"][1]["acceptedBy"] == joined.json()["person"]["id"]
    for one in listed["data"]:
        found = await crew.done("GET", f"{INVITES}?state={one['state']}")
        assert ([seen["id"] for seen in found["data"]], found["meta"]["total"]) == ([one["id"]], 1)
    page = await crew.done("GET", f"{INVITES}?limit=3")
    rest = await crew.done("GET", f"{INVITES}?limit=3&cursor={page['meta']['nextCursor']}")
    assert [one["id"] for one in page["data"] + rest["data"]] == [one["id"] for one in listed["data"]]
    assert pointers(await crew.call("GET", f"{INVITES}?state=lost")) == ["state"]

    at = f"{INVITES}/{taken['id']}"
    refused(await crew.call("DELETE", at), 409, "invitation-closed")
    refused(await crew.call("POST", f"{INVITES}/{gone['id']}/resend"), 409, "invitation-closed")
    refused(await crew.call("POST", f"{at}/resend"), 409, "already-member")
    assert [data["email"] for _, data in await crew.announced("invitation.withdrawn")] == ["gone@example.com"]
    assert (await crew.done("POST", f"{INVITES}/{late['id']}/resend"))["state"] == "open"

    prune = next(one.run for one in tasks(crew.db) if one.kind == PRUNE)
    assert prune is not None
    for later, left in ((timedelta(days=89), 4), (timedelta(days=1, hours=1), 2), (timedelta(days=7), 0)):
        await sql_clock.move(later)
        await prune(None)  # type: ignore[arg-type]
        assert (await crew.done("GET", INVITES))["meta"]["total"] == left


async def test_who_may_invite_whom(crew: Crew) -> None:
    stale = await bearer(crew.db, crew.ids["owner"], crew.tenancy.company_id, is_fresh=False)
    owner = {"email": "ann@example.com", "role": "owner"}
    refused(await crew.call("POST", INVITES, "staff", json={**owner, "role": "staff"}), 403)
    refused(await crew.call("POST", INVITES, "manager", json=owner), 403, "owners-only")
    refused(await crew.api.post(INVITES, headers=stale, json=owner), 403, "step-up-required")
    made = await crew.done("POST", INVITES, json=owner)
    at = f"{INVITES}/{made['id']}"
    refused(await crew.call("POST", INVITES, "manager", json={**owner, "role": "staff"}), 403, "owners-only")
    refused(await crew.call("POST", f"{at}/resend", "manager"), 403, "owners-only")
    refused(await crew.call("DELETE", at, "manager"), 403, "owners-only")
    refused(await crew.api.delete(at, headers=stale), 403, "step-up-required")
    assert (await crew.done("GET", at))["role"] == "owner"
    assert (
        await crew.api.post(INVITES, headers=stale, json={**owner, "email": "b@x.org", "role": "manager"})
    ).is_success


async def test_who_cannot_be_invited(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"email": "ann@example.com", "role": "staff"}
    for change, pointer in (
        ({"email": "no address"}, "#/email"),
        ({"email": "a@b.c\nbcc: d@e.f"}, "#/email"),
        ({"email": "x" * 321}, "#/email"),
        ({"role": "boss"}, "#/role"),
        ({"role": "manager", "features": ["events"]}, "#/features"),
        ({"features": ["money"]}, "#/features/0"),
        ({"companyId": "x"}, "#"),
    ):
        assert pointers(await crew.call("POST", INVITES, json={**body, **change})) == [pointer]
    for same in ("staff@example.com", "STAFF@example.com", "\uff33taff@example.com"):
        refused(await crew.call("POST", INVITES, json={**body, "email": same}), 409, "already-member")
    monkeypatch.setattr(members, "MOST_MEMBERS", 5)
    await crew.invited("ann@example.com")
    _, token = await crew.invited("bob@example.com")
    await crew.invited("ann@example.com")
    refused(await crew.call("POST", INVITES, json={**body, "email": "eve@example.com"}), 409, "company-full")
    assert (
        await crew.api.post(f"{INVITES}/accept", json={"token": token, "name": "B", "password": PASSWORD})
    ).is_success
    await crew.add("one_more", "staff")
    late = await crew.api.post(
        f"{INVITES}/accept",
        json={"token": await crew.token("ann@example.com"), "name": "Ann", "password": PASSWORD},
    )
    refused(late, 409, "company-full")


@pytest.mark.contract("NP-A-09")
async def test_companies_with_like_things_see_their_own_alone(crew: Crew) -> None:
    """Every list and read of this room; tests/architecture/test_routes.py walks all others with mixed ids."""
    other = Crew(crew.api, crew.db, await open_tenancy(crew.db))
    await other.add("stranger", "owner")
    ours, _ = await crew.invited("ann@example.com")
    theirs, _ = await other.invited("ann@example.com", by="stranger")
    assert [one["id"] for one in (await other.done("GET", INVITES, "stranger"))["data"]] == [theirs["id"]]
    assert [one["id"] for one in (await crew.done("GET", INVITES))["data"]] == [ours["id"]]
    page = await crew.done("POST", DEPARTMENTS, json={"name": "Support"})
    assert (await other.done("POST", DEPARTMENTS, "stranger", json={"name": "Support"}))["id"] != page["id"]
    for path in (f"{INVITES}/{ours['id']}", f"{DEPARTMENTS}/{page['id']}", f"/api/v1/members/{crew.ids['staff']}"):
        refused(await other.call("GET", path, "stranger"), 404)
        assert (await crew.call("GET", path)).status_code == 200
    for method, path in (("POST", f"{INVITES}/{ours['id']}/resend"), ("DELETE", f"{INVITES}/{ours['id']}")):
        refused(await other.call(method, path, "stranger"), 404)
    assert (await crew.done("GET", f"{INVITES}/{ours['id']}"))["timesSent"] == 1


@pytest.mark.contract("NP-RL-02")
async def test_the_eleventh_invitation_of_a_minute_waits(crew: Crew, fresh_url: str) -> None:
    async with running_app(fresh_url, RATE_LIMITS="all=none,invites=10/60,login=5/60") as api:
        held = Crew(api, crew.db, crew.tenancy, crew.ids, crew.headers)
        made = [await held.done("POST", INVITES, json={"email": f"p{n}@x.org", "role": "staff"}) for n in range(10)]
        answer = await held.call("POST", INVITES, json={"email": "p10@x.org", "role": "staff"})
        refused(answer, 429)
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert await crew.letters("p10@x.org") == []
        for status in (400, 400, 400, 400, 400, 429):
            assert (await api.get(f"{INVITES}/accept", params={"token": "ml_x"})).status_code == status
        assert (await held.done("DELETE", f"{INVITES}/{made[0]['id']}"))["state"] == "withdrawn"
