"""Another address: confirmed from its mailbox, told to both, unique in any letter case and form, and good once."""

import asyncio
from datetime import timedelta

import httpx

from mainstay import accounts
from mainstay.accounts import confirming
from mainstay.kernel.db import Database
from tests.accounts import mailbox
from tests.accounts.mailbox import KEYRING, PASSWORD, add, announced, letters, sign_in, token_of
from tests.conftest import SqlClock
from tests.tenancy import Tenancy, bearer

AT = "/api/v1/auth/email"


async def ask(api: httpx.AsyncClient, headers: dict[str, str], email: str) -> httpx.Response:
    return await api.post(AT, json={"email": email}, headers=headers)


async def confirm(api: httpx.AsyncClient, token: str) -> httpx.Response:
    return await api.post(f"{AT}/confirm", json={"token": token})


async def test_an_address_changes_when_the_new_mailbox_confirms_it(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    ada = await add(db, tenancy)
    answer = await ask(api, ada.headers, " New@Example.com ")
    assert (answer.status_code, answer.json()) == (202, {"data": {"email": "New@Example.com"}})
    assert [(kind, to) for kind, to, _ in await letters(db)] == [
        ("email_change", "New@Example.com"),
        ("email_changed", ada.email),
    ]
    assert (await sign_in(api, ada.email, PASSWORD)).status_code == 200
    token = await token_of(db, "New@Example.com")
    answer = await confirm(api, token)
    assert (answer.status_code, answer.json()) == (200, {"data": {"email": "New@Example.com"}})
    assert (await sign_in(api, ada.email, PASSWORD)).status_code == 401
    assert (await sign_in(api, "new@example.com", PASSWORD)).status_code == 200
    told = [(kind, to) for kind, to, _ in await letters(db)][2:]
    assert [one for one in told if one[0] == "email_changed"] == [
        ("email_changed", "New@Example.com"),
        ("email_changed", ada.email),
    ]
    (asked,), (changed,) = await announced(db, "email.change_requested"), await announced(db, "email.changed")
    assert (asked["newEmail"], changed["email"], changed["oldEmail"]) == (
        "New@Example.com",
        "New@Example.com",
        ada.email,
    )
    assert token not in str(asked) + str(changed)
    assert (await mailbox.row_of(db, ada.id))["email_confirmed_at"] is not None
    assert (await confirm(api, token)).json()["code"] == "link-over"


async def test_a_change_needs_a_recent_proof_and_an_address_of_another_form(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    ada = await add(db, tenancy)
    stale = await bearer(db, ada.id, tenancy.company_id, is_fresh=False)
    assert (await ask(api, stale, "new@example.com")).json()["code"] == "step-up-required"
    look_alike = "\u0430da@example.com", "ada@ex\u0430mple.com", "ad\u03b1@example.com"
    for bad in (ada.email, "no address", "a@b.example\r\nBcc: c@d.example", "", *look_alike):
        answer = await ask(api, ada.headers, bad)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "#/email")
    assert (await ask(api, ada.headers, ada.email.upper())).status_code == 202
    assert (await confirm(api, await token_of(db, ada.email.upper()))).status_code == 200


async def test_an_address_that_somebody_has_is_taken_in_any_form_and_asking_does_not_tell(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    ada, bob = await add(db, tenancy), await add(db, tenancy, email="bob@example.com")
    for form in (
        "bob@example.com",
        "BOB@Example.COM",
        "\uff22ob@example.com",
        "bob@\uff25xample.com",
        "b\u2134b@example.com",
    ):
        answer = await ask(api, ada.headers, form)
        assert answer.status_code == 202
        answer = await confirm(api, await token_of(db, answer.json()["data"]["email"]))
        assert (answer.status_code, answer.json()["code"]) == (409, "email-taken")
    assert (await mailbox.row_of(db, ada.id))["email"] == ada.email
    assert (await mailbox.row_of(db, bob.id))["email"] == "bob@example.com"
    assert await announced(db, "email.changed") == []


async def test_of_two_people_who_want_one_address_one_gets_it(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    people = [await add(db, tenancy) for _ in range(2)]
    tokens = []
    for one in people:
        await ask(api, one.headers, "wanted@example.com")
        tokens.append(await token_of(db, "wanted@example.com"))
    answers = await asyncio.gather(*(confirm(api, token) for token in tokens))
    assert sorted(one.status_code for one in answers) == [200, 409]


async def test_a_change_is_over_after_a_day_a_newer_one_or_once_used(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy, sql_clock: SqlClock
) -> None:
    await sql_clock.stop()
    ada = await add(db, tenancy)
    await ask(api, ada.headers, "first@example.com")
    first = await token_of(db, "first@example.com")
    await ask(api, ada.headers, "second@example.com")
    assert (await confirm(api, first)).json()["code"] == "link-over"
    second = await token_of(db, "second@example.com")
    answers = await asyncio.gather(*(confirm(api, second) for _ in range(3)))
    assert sorted(one.status_code for one in answers) == [200, 400, 400]
    await ask(api, ada.headers, "third@example.com")
    await sql_clock.move(timedelta(hours=24))
    assert (await confirm(api, await token_of(db, "third@example.com"))).json()["code"] == "link-over"


async def test_an_address_is_confirmed_and_asked_for_five_times_an_hour(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    ada = await add(db, tenancy)
    async with db.begin() as tx:
        await confirming.ask_to_confirm(tx, KEYRING, person_id=ada.id, email=ada.email, name="Ada Lane")
    first = await token_of(db, ada.email)
    answers = [await api.post(f"{AT}/confirmation", headers=ada.headers) for _ in range(5)]
    assert [one.status_code for one in answers] == [202] * 4 + [429]
    assert answers[-1].json()["code"] == "too-many-letters"
    assert (await confirm(api, first)).json()["code"] == "link-over"
    assert (await confirm(api, await token_of(db, ada.email))).json() == {"data": {"email": ada.email}}
    assert (await api.post(f"{AT}/confirmation", headers=ada.headers)).json()["code"] == "email-confirmed"
    assert [fact["email"] for fact in await announced(db, "email.confirmed")] == [ada.email]


async def test_a_confirmation_of_an_older_address_is_over(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    ada = await add(db, tenancy)
    async with db.begin() as tx:
        await confirming.ask_to_confirm(tx, KEYRING, person_id=ada.id, email=ada.email, name="Ada Lane")
        reset = await accounts.links.make_link(tx, "password_reset", ada.id, person_id=ada.id)
    older = await token_of(db, ada.email)
    await ask(api, ada.headers, "new@example.com")
    assert (await confirm(api, await token_of(db, "new@example.com"))).status_code == 200
    assert (await confirm(api, older)).json()["code"] == "link-over"
    assert await accounts.links.find_link(db, "password_reset", reset) is None


async def test_another_password_ends_a_change_of_address_that_somebody_else_may_have_asked_for(
    api: httpx.AsyncClient, db: Database, tenancy: Tenancy
) -> None:
    ada = await add(db, tenancy)
    assert (await ask(api, ada.headers, "thief@example.com")).status_code == 202
    change = {"currentPassword": PASSWORD, "newPassword": mailbox.OTHER}
    assert (await api.post("/api/v1/auth/password", json=change, headers=ada.headers)).status_code == 200
    assert (await confirm(api, await token_of(db, "thief@example.com"))).json()["code"] == "link-over"
    assert (await ask(api, ada.headers, "thief@example.com")).status_code == 202
    async with db.begin() as tx:
        token = await accounts.links.make_link(tx, "password_reset", ada.id, person_id=ada.id)
    reset = {"token": token, "newPassword": "a third horse in a field"}
    assert (await api.post("/api/v1/auth/password/reset", json=reset)).status_code == 204
    assert (await confirm(api, await token_of(db, "thief@example.com"))).json()["code"] == "link-over"
    assert (await mailbox.row_of(db, ada.id))["email"] == ada.email
