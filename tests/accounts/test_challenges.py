"""The second step of signing in at the console, and proofs by code: one door's challenge is none of another's."""

import httpx
import pytest

from mainstay import identity
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from tests.accounts.mailbox import announced
from tests.accounts.signing import AUTH, PASSWORD, SignedIn
from tests.conftest import SqlClock
from tests.console.site import csrf_of, sign_in
from tests.mfa.conftest import People, Someone
from tests.tenancy import Tenancy


@pytest.fixture
async def ada(db: Database, tenancy: Tenancy, sql_clock: SqlClock) -> Someone:
    """An owner whose second factor is on."""
    passwords = identity.Passwords()
    made = await passwords.hash(PASSWORD)
    passwords.close()
    keyring = Keyring("a-test-secret-of-forty-characters-or-so-1")
    return await People(db, keyring, tenancy, sql_clock, await sql_clock.stop()).with_factor(password_hash=made)


def email_of(one: Someone) -> str:
    assert one.caller.email is not None
    return one.caller.email


async def ask(api: httpx.AsyncClient, one: Someone) -> httpx.Response:
    """The form of the code, to which the right password leads."""
    led = await sign_in(api, email_of(one))
    assert (led.status_code, led.headers["location"]) == (303, "/console/sign-in/code?next=%2Fconsole")
    return await api.get(led.headers["location"])


async def give(api: httpx.AsyncClient, form: httpx.Response, code: str) -> httpx.Response:
    return await api.post("/console/sign-in/code", data={"csrf": csrf_of(form.text), "code": code, "next": "/console"})


async def test_the_console_asks_for_a_code_before_there_is_a_session(
    api: httpx.AsyncClient, db: Database, ada: Someone
) -> None:
    form = await ask(api, ada)
    assert (form.status_code, "one-time-code" in form.text) == (200, True)
    assert "one-time-code" not in (await api.get("/console/sign-in/code?recovery=1")).text
    assert "mainstay_session" not in api.cookies
    assert await announced(db, "session.opened") == []
    assert (await api.get("/console")).status_code == 303
    wrong = await give(api, form, ada.wrong())
    assert (wrong.status_code, 'aria-invalid="true"' in wrong.text) == (401, True)
    right = await give(api, wrong, ada.code())
    assert (right.status_code, right.headers["location"]) == (303, "/console")
    assert "mainstay_challenge" not in api.cookies
    assert (await api.get("/console")).status_code == 200
    (fact,) = await announced(db, "session.opened")
    assert (fact["via"], fact["method"]) == ("console", "totp")


async def test_without_a_challenge_or_the_token_of_the_form_no_code_opens(api: httpx.AsyncClient, ada: Someone) -> None:
    form = await ask(api, ada)
    refused = await api.post("/console/sign-in/code", data={"csrf": "x", "code": ada.code()})
    assert refused.status_code == 403
    del api.cookies["mainstay_challenge"]
    assert (await api.get("/console/sign-in/code")).headers["location"] == "/console/sign-in?next=%2Fconsole"
    again = await give(api, form, ada.code())
    assert (again.status_code, 'name="password"' in again.text) == (401, True)


async def test_a_challenge_is_answered_at_its_own_door(api: httpx.AsyncClient, ada: Someone) -> None:
    await sign_in(api, email_of(ada))
    console = api.cookies["mainstay_challenge"]
    answer = await api.post(f"{AUTH}/mfa/challenge", json={"challenge": console, "code": ada.code()})
    assert (answer.status_code, answer.json()["code"]) == (401, "challenge-over")
    assert "mainstay_access" not in api.cookies


async def test_a_code_steps_up_where_a_factor_is_on_and_a_password_does_not(
    api: httpx.AsyncClient, ada: Someone
) -> None:
    login = await api.post(f"{AUTH}/login", json={"email": ada.caller.email, "password": PASSWORD})
    body = {"challenge": login.json()["challenge"], "code": ada.code()}
    signed_in = SignedIn.of(await api.post(f"{AUTH}/mfa/challenge", json=body))
    api.cookies.clear()
    for proof, pointer in (
        ({"password": PASSWORD}, "#/code"),
        ({"code": ada.wrong()}, "#/code"),
        ({"code": ada.code()}, "#/code"),
    ):
        refused = await api.post(f"{AUTH}/step-up", json=proof, headers=signed_in.auth)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, pointer)
    answer = await api.post(f"{AUTH}/step-up", json={"code": ada.code(1)}, headers=signed_in.auth)
    assert SignedIn.of(answer).session_id != signed_in.session_id
