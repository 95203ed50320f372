"""Whoever holds a link: what it shows, and how they join."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from mainstay import identity
from tests.conftest import SqlClock
from tests.members.conftest import INVITES, MEMBERS, PASSWORD, TOKEN, Crew, pointers, refused
from tests.tenancy import bearer, open_tenancy

AT = f"{INVITES}/accept"
NEW = {"name": "Ann", "password": PASSWORD}


async def look(crew: Crew, token: str) -> httpx.Response:
    """What the link shows."""
    return await crew.api.get(AT, params={"token": token})


async def accept(crew: Crew, token: str, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    """The answer to whoever accepts."""
    return await crew.api.post(AT, json={"token": token, **body}, headers=headers or {})


async def stranger_of(crew: Crew, password: str = PASSWORD) -> tuple[Crew, str]:
    """Another company with somebody in it, and their id."""
    passwords = identity.Passwords()
    hashed = await passwords.hash(password)
    passwords.close()
    other = Crew(crew.api, crew.db, await open_tenancy(crew.db))
    return other, await other.add("stranger", "owner", hashed=hashed)


@pytest.mark.contract("NP-A-07")
async def test_somebody_new_gets_an_account_and_lands_in_the_company_with_the_role(crew: Crew) -> None:
    invitation, token = await crew.invited("ann@example.com", "staff", features=["events"])
    for _ in range(2):
        offer = await look(crew, token)
        assert offer.headers["cache-control"] == "no-store"
        assert offer.json() == {
            "company": {"id": crew.tenancy.company_id, "name": "Test company"},
            "email": "ann@example.com",
            "role": "staff",
            "features": ["events"],
            "invitedBy": "Owner",
            "expiresAt": invitation["expiresAt"],
            "hasAccount": False,
        }
    assert pointers(await accept(crew, token)) == ["#/name", "#/password"]
    assert pointers(await accept(crew, token, name="", password=PASSWORD)) == ["#/name"]
    for easy in ("password", "short", "ann-ann-ann", "x" * 1_025):
        assert pointers(await accept(crew, token, name="Ann", password=easy)) == ["#/password"]
    joined = await accept(crew, token, **NEW)
    assert (joined.status_code, joined.json()["isNewAccount"]) == (200, True)
    assert "oken" not in joined.text
    refused(await accept(crew, token, **NEW), 400, "link-over")
    refused(await look(crew, token), 400, "link-over")

    login = await crew.api.post("/api/v1/auth/login", json={"email": "ANN@example.com", "password": PASSWORD})
    assert login.status_code == 200, login.text
    assert (login.json()["company"]["id"], login.json()["person"]["role"]) == (crew.tenancy.company_id, "staff")
    member = await crew.done("GET", f"{MEMBERS}/{joined.json()['person']['id']}")
    assert (member["features"], member["emailConfirmed"], member["invitedBy"]["name"]) == (["events"], True, "Owner")
    told = await crew.announced("person.registered", "member.joined")
    assert [(name, data["by"], data["company"]) for name, data in told] == [
        (name, member["id"], crew.tenancy.company_id) for name in ("person.registered", "member.joined")
    ]


async def test_several_at_once_join_once(crew: Crew) -> None:
    _, token = await crew.invited("ann@example.com")
    answers = await asyncio.gather(*(accept(crew, token, **NEW) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    assert (await crew.done("GET", f"{MEMBERS}?search=ann@"))["meta"]["total"] == 1
    assert len(await crew.announced("member.joined")) == 1


async def test_an_account_that_is_there_joins_signed_in_or_by_its_password_and_stays_as_it_is(crew: Crew) -> None:
    other, person = await stranger_of(crew)
    invitation, token = await crew.invited("Stranger@example.com", "manager")
    assert (await look(crew, token)).json()["hasAccount"] is True
    refused(await accept(crew, token), 401, "proof-needed")
    refused(await accept(crew, token, crew.headers["staff"]), 401, "proof-needed")
    refused(await accept(crew, token, {"authorization": "Bearer nonsense"}), 401, "proof-needed")
    refused(await accept(crew, token, name="Mallory", password="another password of mine"), 401, "login-refused")
    joined = await accept(crew, token, other.headers["stranger"], name="Mallory")
    assert joined.json()["person"] == {
        "id": person, "email": "stranger@example.com", "name": "Stranger", "role": "manager",
    }  # fmt: skip
    assert joined.json()["isNewAccount"] is False
    assert (await crew.done("GET", f"{MEMBERS}/{person}"))["emailConfirmed"] is True
    assert (await other.done("GET", MEMBERS, "stranger"))["data"][0]["role"] == "owner"
    assert [name for name, _ in await crew.announced("person.registered", "member.joined")] == ["member.joined"]

    third = Crew(crew.api, crew.db, await open_tenancy(crew.db))
    await third.add("third", "owner")
    _, token = await third.invited("stranger@example.com", by="third")
    assert (await accept(crew, token, password=PASSWORD)).json()["person"]["id"] == person
    refused(await crew.call("POST", f"{INVITES}/{invitation['id']}/resend"), 409, "already-member")


async def test_who_is_suspended_everywhere_joins_nothing(crew: Crew) -> None:
    other, person = await stranger_of(crew)
    _, token = await crew.invited("stranger@example.com")
    assert (await crew.api.post(f"/internal/people/{person}/suspension", headers=TOKEN)).status_code == 200
    refused(await accept(crew, token, password=PASSWORD), 403, "person-suspended")
    refused(await accept(crew, token, other.headers["stranger"]), 401, "proof-needed")
    await crew.api.delete(f"/internal/people/{person}/suspension", headers=TOKEN)
    assert (await accept(crew, token, password=PASSWORD)).status_code == 200


async def test_who_became_a_member_meanwhile_is_not_changed(crew: Crew) -> None:
    _, token = await crew.invited("bob@example.com", "manager")
    bob = await crew.add("bob", "staff")
    await crew.done("POST", f"{MEMBERS}/{bob}/suspend")
    refused(await accept(crew, token, crew.headers["bob"]), 401, "proof-needed")
    await crew.done("POST", f"{MEMBERS}/{bob}/restore")
    anew = await bearer(crew.db, bob, crew.tenancy.company_id)
    refused(await accept(crew, token, anew), 409, "already-member")
    assert (await crew.done("GET", f"{MEMBERS}/{bob}"))["role"] == "staff"


async def test_a_link_is_good_for_seven_days_and_until_it_is_withdrawn(crew: Crew, sql_clock: SqlClock) -> None:
    await sql_clock.stop()
    _, token = await crew.invited("ann@example.com")
    await sql_clock.move(timedelta(days=7) - timedelta(seconds=1))
    assert (await look(crew, token)).status_code == 200
    await sql_clock.move(timedelta(seconds=1))
    refused(await look(crew, token), 400, "link-over")
    refused(await accept(crew, token, **NEW), 400, "link-over")
    made, token = await crew.invited("bob@example.com")
    await crew.done("DELETE", f"{INVITES}/{made['id']}")
    refused(await accept(crew, token, **NEW), 400, "link-over")
    for false in ("", "x", "ml_" + "x" * 43, "\u00e4"):
        answer = await accept(crew, false, **NEW)
        assert answer.status_code == 400, answer.text
    assert (await crew.done("GET", MEMBERS))["meta"]["total"] == 3


async def test_an_invitation_is_good_while_whoever_made_it_may_invite(crew: Crew) -> None:
    await crew.add("second", "owner")
    _, as_owner = await crew.invited("first@example.com", "owner", "second")
    invitation, as_staff = await crew.invited("back@example.com", "staff", "second")
    at = f"{MEMBERS}/{crew.ids['second']}"
    await crew.done("POST", f"{at}/role", json={"role": "manager"})
    told = refused(await accept(crew, as_owner, **NEW), 409, "invitation-closed")
    assert "any more" in told["detail"]
    await crew.done("POST", f"{at}/suspend")
    refused(await accept(crew, as_staff, **NEW), 409, "invitation-closed")
    await crew.done("DELETE", at)
    refused(await accept(crew, as_staff, **NEW), 409, "invitation-closed")
    await crew.done("POST", f"{INVITES}/{invitation['id']}/resend")
    assert (await accept(crew, await crew.token("back@example.com"), **NEW)).status_code == 200
