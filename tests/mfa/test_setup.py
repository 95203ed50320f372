"""Setting up, verifying and turning off over HTTP, as a person who is signed in does it."""

import asyncio
import base64
from typing import Any

import httpx
import pytest

from mainstay import identity, mfa
from mainstay.kernel.db import Database
from tests.mfa.conftest import AT, People, Someone, announced
from tests.mfa.test_pictures import pixels_of_png, pixels_of_svg, read
from tests.tenancy import OPERATOR


async def post(api: httpx.AsyncClient, headers: dict[str, str], act: str, code: str | None = None) -> httpx.Response:
    """The answer to one of the routes."""
    return await api.post(f"{AT}/{act}", headers=headers, json=None if code is None else {"code": code})


async def begin(api: httpx.AsyncClient, headers: dict[str, str], one: Someone) -> dict[str, Any]:
    """What setting up answers; the app has the secret."""
    answer = await post(api, headers, "setup")
    assert answer.status_code == 200, answer.text
    setup: dict[str, Any] = answer.json()
    one.secret, one.recovery = setup["secret"], tuple(setup["recoveryCodes"])
    return setup


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and kind of a refusal."""
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


@pytest.mark.contract("NP-M-02", "NP-M-05")
async def test_setting_up_shows_a_secret_and_changes_nothing(api: httpx.AsyncClient, owners: People) -> None:
    passwords = identity.Passwords()
    hashed = await passwords.hash("correct horse battery staple")
    passwords.close()
    one = await owners.add(password_hash=hashed)
    headers = await owners.headers(one)
    setup = await begin(api, headers, one)
    assert len(base64.b32decode(setup["secret"])) == 20
    assert f"secret={setup['secret']}&" in setup["otpauthUri"]
    assert one.caller.email.partition("@")[0] in setup["otpauthUri"]
    assert read(pixels_of_png(base64.b64decode(setup["qr"]["png"].partition(",")[2]))) == setup["otpauthUri"]
    assert read(pixels_of_svg(setup["qr"]["svg"])) == setup["otpauthUri"]
    assert len(set(setup["recoveryCodes"])) == 10

    state = (await api.get(AT, headers=headers)).json()
    assert (state["enabled"], state["waiting"], state["recoveryCodesLeft"]) == (False, True, 0)
    login = await api.post(
        "/api/v1/auth/login", json={"email": one.caller.email, "password": "correct horse battery staple"}
    )
    assert login.status_code == 200
    assert login.json()["accessToken"]


async def test_answers_with_secrets_are_not_kept_by_caches(api: httpx.AsyncClient, owners: People) -> None:
    one = await owners.with_factor()
    headers = await owners.headers(one)
    renewed = await post(api, headers, "recovery-codes", one.code())
    other = await owners.headers(await owners.add())
    assert (await post(api, other, "setup")).headers["cache-control"] == "no-store"
    assert renewed.headers["cache-control"] == "no-store"


async def test_setting_up_again_replaces_what_waits(api: httpx.AsyncClient, owners: People) -> None:
    one = await owners.add()
    headers = await owners.headers(one)
    first = await begin(api, headers, one)
    second = await begin(api, headers, one)
    assert first["secret"] != second["secret"]
    old = Someone(one.caller, one.clock, one.now, first["secret"])
    assert code_of(await post(api, headers, "verify", old.code())) == (400, "wrong-code")
    assert (await post(api, headers, "verify", one.code())).json()["enabled"] is True
    with pytest.raises(mfa.WrongCode):
        await mfa.prove(owners.db, owners.keyring, one.id, first["recoveryCodes"][0])
    assert await mfa.prove(owners.db, owners.keyring, one.id, second["recoveryCodes"][0]) == "recovery"


@pytest.mark.contract("NP-M-03", "NP-M-06")
async def test_the_first_code_turns_it_on_and_wrong_ones_do_not(
    api: httpx.AsyncClient, owners: People, db: Database
) -> None:
    one = await owners.add()
    headers = await owners.headers(one, is_fresh=False)
    assert code_of(await post(api, headers, "verify", "123456")) == (409, "mfa-not-set-up")
    await owners.begin(one)
    for text in (one.code()[:5], one.code() + "0", one.wrong(), "abcdef", one.recovery[0]):
        answer = await post(api, headers, "verify", text)
        assert code_of(answer) == (400, "wrong-code")
        assert answer.json()["errors"][0]["pointer"] == "#/code"
    assert (await api.get(AT, headers=headers)).json()["enabled"] is False
    assert not await mfa.is_on(db, one.id)

    code = one.code()
    on = await post(api, headers, "verify", f" {code[:3]} {code[3:]}")
    assert (on.status_code, on.json()["enabled"], on.json()["recoveryCodesLeft"]) == (200, True, 10)
    assert on.json()["enabledAt"] is not None
    assert await mfa.is_on(db, one.id)
    assert code_of(await post(api, headers, "verify", one.code(1))) == (409, "mfa-already-on")
    assert code_of(await post(api, await owners.headers(one), "setup")) == (409, "mfa-already-on")
    strong = "select count(*) from mainstay.sessions where person_id = $1 and strong_at is not null"
    async with db.connection() as connection:
        assert await connection.fetchval(strong, one.id) == 1


async def test_sessions_that_a_password_alone_opened_end_when_it_is_turned_on(
    api: httpx.AsyncClient, owners: People, db: Database
) -> None:
    one = await owners.begin(await owners.add())
    this, weak, strong = [await owners.headers(one) for _ in range(3)]
    async with db.connection() as connection:
        await connection.execute(
            """update mainstay.sessions set strong_at = mainstay.now()
               where id = (select id from mainstay.sessions where person_id = $1 order by id desc limit 1)""",
            one.id,
        )
    assert (await post(api, this, "verify", one.code())).status_code == 200
    assert [(await api.get(AT, headers=headers)).status_code for headers in (this, weak, strong)] == [200, 401, 200]
    assert [data["sessionsEnded"] for _, data in await announced(db, "mfa.enabled")] == [1]


async def test_the_code_that_turned_it_on_is_used_up(people: People) -> None:
    one = await people.begin(await people.add())
    await mfa.verify(people.db, people.keyring, one.caller, one.code())
    with pytest.raises(mfa.WrongCode):
        await mfa.prove(people.db, people.keyring, one.id, one.code())
    assert await mfa.prove(people.db, people.keyring, one.id, one.code(1)) == "totp"


@pytest.mark.contract("NP-M-04")
async def test_a_code_turns_it_off_and_nothing_else_does(api: httpx.AsyncClient, owners: People, db: Database) -> None:
    one = await owners.with_factor()
    headers = await owners.headers(one)
    assert (await post(api, headers, "disable")).status_code == 400
    for text in (one.wrong(), one.code()[:5], "2345-6789-ABCD-EFGH-JKMN-PQRS"):
        assert code_of(await post(api, headers, "disable", text)) == (400, "wrong-code")
    assert await mfa.is_on(db, one.id)
    off = await post(api, headers, "disable", one.code())
    assert (off.status_code, off.json()["enabled"], off.json()["recoveryCodesLeft"]) == (200, False, 0)
    assert not await mfa.is_on(db, one.id)
    assert code_of(await post(api, headers, "disable", one.code(1))) == (409, "mfa-not-on")
    async with db.connection() as connection:
        for table in ("mfa_factors", "recovery_codes"):
            assert await connection.fetchval(f"select count(*) from mainstay.{table}") == 0
        assert await connection.fetchval("select mfa_enabled_at from mainstay.people where id = $1", one.id) is None


async def test_a_recovery_code_turns_it_off_too_and_renews_the_others(
    api: httpx.AsyncClient, owners: People, db: Database
) -> None:
    one = await owners.with_factor()
    headers = await owners.headers(one)
    renewed = await post(api, headers, "recovery-codes", one.recovery[0].lower())
    fresh = renewed.json()["recoveryCodes"]
    assert renewed.status_code == 200
    assert len(set(fresh)) == 10
    assert not set(fresh) & set(one.recovery)
    assert (await api.get(AT, headers=headers)).json()["recoveryCodesLeft"] == 10
    assert code_of(await post(api, headers, "disable", one.recovery[1])) == (400, "wrong-code")
    assert (await post(api, headers, "disable", fresh[0])).status_code == 200
    assert [data["method"] for _, data in await announced(db, "mfa.disabled")] == ["recovery"]


async def test_changes_ask_for_a_recent_proof(api: httpx.AsyncClient, owners: People) -> None:
    one = await owners.with_factor()
    stale = await owners.headers(one, is_fresh=False)
    for act, code in (("setup", None), ("disable", one.code()), ("recovery-codes", one.code())):
        assert code_of(await post(api, stale, act, code)) == (403, "step-up-required")
    assert (await api.get(AT, headers=stale)).json()["enabled"] is True


async def test_every_company_of_the_person_learns_of_it_and_one_tells_the_person(people: People, db: Database) -> None:
    one = await people.begin(await people.add())
    async with db.begin() as tx:
        other = await identity.open_company(tx, OPERATOR, name="Brook & Co")
        await identity.add_person(
            tx, OPERATOR, other.id, email=one.caller.email or "", name="x", password_hash="$argon2id$x", role="staff"
        )
    await mfa.verify(db, people.keyring, one.caller, one.code())
    await mfa.renew_codes(db, people.keyring, one.caller, one.code(1))
    await mfa.disable(db, people.keyring, one.caller, one.code(2))
    for name in ("mfa.enabled", "mfa.codes_renewed", "mfa.disabled"):
        told = await announced(db, name)
        assert {company: data["tellPerson"] for company, data in told} == {
            one.caller.company_id: True,
            other.id: False,
        }
        assert {data["personId"] for _, data in told} == {one.id}
        assert one.secret not in str(told)


async def test_two_verifications_at_once_turn_it_on_once(people: People, db: Database) -> None:
    one = await people.begin(await people.add())
    ends = await asyncio.gather(
        *(mfa.verify(db, people.keyring, one.caller, one.code(offset)) for offset in (0, 1)),
        return_exceptions=True,
    )
    assert sorted(type(end).__name__ for end in ends) in (["AlreadyOn", "State"], ["CodeRefused", "State"])
    assert len(await announced(db, "mfa.enabled")) == 1
