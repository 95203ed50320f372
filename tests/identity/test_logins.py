"""Access tokens: what opens, for whom and how long; what is forged or confused opens nothing."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import pytest

from mainstay import identity
from mainstay.kernel import ids
from mainstay.kernel.clock import MovableClock
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Unauthenticated
from tests.identity.conftest import ACCESS_SECRET, INTERNAL_TOKEN, Client, KeyMaker, add
from tests.tenancy import open_session


@pytest.fixture
async def ada(db: Database, passwords: identity.Passwords, company: identity.Company) -> identity.Person:
    return await add(db, passwords, company, "ada@example.com", "owner")


async def token_of(callers: identity.Identity, person: identity.Person, company: identity.Company) -> str:
    """An access token of a session that was opened just now."""
    session_id = await open_session(callers._db, person.id, company.id)
    return callers.tokens.sign(person_id=person.id, company_id=company.id, session_id=session_id)


async def test_suspension_and_removal_count_at_the_next_call(
    db: Database, client: Client, company: identity.Company, callers: identity.Identity, ada: identity.Person
) -> None:
    token = await token_of(callers, ada, company)
    async with client(token) as person, db.connection() as connection:
        assert (await person.get("/guard/member")).status_code == 200
        await connection.execute("update mainstay.people set suspended_at = mainstay.now()")
        assert (await person.get("/guard/member")).status_code == 401
        await connection.execute("update mainstay.people set suspended_at = null")
        await connection.execute("update mainstay.memberships set suspended_at = mainstay.now()")
        assert (await person.get("/guard/member")).status_code == 401
        await connection.execute("update mainstay.memberships set suspended_at = null")
        assert (await person.get("/guard/member")).status_code == 200
        await connection.execute("delete from mainstay.memberships")
        assert (await person.get("/guard/member")).status_code == 401


async def test_a_token_is_for_the_company_that_it_names(
    client: Client, other_company: identity.Company, callers: identity.Identity, ada: identity.Person
) -> None:
    async with client(await token_of(callers, ada, other_company)) as person:
        assert (await person.get("/guard/member")).status_code == 401


@pytest.mark.parametrize(
    ("role", "opens"), [("owner", "member manager owner"), ("manager", "member manager"), ("staff", "member")]
)
async def test_roles_open_their_guards_alone(
    db: Database,
    client: Client,
    passwords: identity.Passwords,
    company: identity.Company,
    callers: identity.Identity,
    role: str,
    opens: str,
) -> None:
    person = await add(db, passwords, company, "bob@example.com", role)
    async with client(await token_of(callers, person, company)) as caller:
        for guard in ("member", "manager", "owner"):
            expected = 200 if guard in opens.split() else 403
            assert (await caller.get(f"/guard/{guard}")).status_code == expected


async def test_no_credential_opens_another_family(
    client: Client, callers: identity.Identity, company: identity.Company, ada: identity.Person, company_key: KeyMaker
) -> None:
    token = await token_of(callers, ada, company)
    key = (await company_key()).secret
    async with client() as nobody, client(token) as person, client(key) as holder, client(INTERNAL_TOKEN) as operator:
        for path in ("/guard/member", "/guard/operator", "/v1/key/company", "/v1/key/workspace"):
            assert (await nobody.get(path)).status_code == 401
        for path in ("/guard/operator", "/v1/key/company", "/v1/key/workspace"):
            assert (await person.get(path)).status_code == 401
        for path in ("/guard/member", "/guard/operator"):
            assert (await holder.get(path)).status_code == 401
        for path in ("/guard/member", "/guard/operator", "/v1/key/company"):
            assert (await operator.get(path)).status_code == 401
        for wrong in ("", "x", INTERNAL_TOKEN[:-1], INTERNAL_TOKEN + "x", key, token):
            assert (await nobody.get("/guard/operator", headers={"x-internal-token": wrong})).status_code == 401
        right = await nobody.get("/guard/operator", headers={"x-internal-token": INTERNAL_TOKEN})
        assert right.status_code == 200


async def test_without_an_internal_token_nobody_is_an_operator(db: Database) -> None:
    closed = identity.Identity(db, access_secret=ACCESS_SECRET)
    for token in ("", "None", INTERNAL_TOKEN):
        with pytest.raises(Unauthenticated):
            await closed.operator(token)


def _unsigned(claims: dict[str, Any]) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts) + "."


def _signed(claims: dict[str, Any], secret: str = ACCESS_SECRET, algorithm: str = "HS256", **more: Any) -> str:
    return jwt.encode(claims, secret, algorithm=algorithm, **more)


FORGERIES: dict[str, Callable[[dict[str, Any]], str]] = {
    "alg none": _unsigned,
    "other secret": lambda c: _signed(c, "another secret of more than 32 characters"),
    "other algorithm": lambda c: _signed(c, ACCESS_SECRET * 2, "HS512"),
    "same secret, other algorithm": lambda c: jwt.encode(c, ACCESS_SECRET + " " * 32, algorithm="HS384"),
    "refresh": lambda c: _signed({**c, "typ": "refresh"}),
    "no type": lambda c: _signed({k: v for k, v in c.items() if k != "typ"}),
    "other audience": lambda c: _signed({**c, "aud": "somewhere-else"}),
    "several audiences": lambda c: _signed({**c, "aud": [c["aud"], "somewhere-else"]}),
    "no audience": lambda c: _signed({k: v for k, v in c.items() if k != "aud"}),
    "other issuer": lambda c: _signed({**c, "iss": "somebody"}),
    "no expiry": lambda c: _signed({k: v for k, v in c.items() if k != "exp"}),
    "expiry as text": lambda c: _signed({**c, "exp": str(c["exp"])}),
    "expiry as truth": lambda c: _signed({**c, "exp": True}),
    "expired": lambda c: _signed({**c, "exp": c["iat"]}),
    "signed in an hour": lambda c: _signed({**c, "iat": c["iat"] + 3_600, "exp": c["exp"] + 3_600}),
    "not good before an hour": lambda c: _signed({**c, "nbf": c["iat"] + 3_600}),
    "no session": lambda c: _signed({k: v for k, v in c.items() if k != "sid"}),
    "another session": lambda c: _signed({**c, "sid": ids.new_id()}),
    "session of another type": lambda c: _signed({**c, "sid": 7}),
    "key by header": lambda c: _signed(c, "o" * 40, headers={"kid": "../../dev/null", "jku": "http://127.0.0.1/keys"}),
    "own key in header": lambda c: _signed(c, "o" * 40, headers={"jwk": {"kty": "oct", "k": "b28"}, "x5u": "x"}),
    "company of another type": lambda c: _signed({**c, "company": [c["company"]]}),
    "company that is no id": lambda c: _signed({**c, "company": "acme"}),
    "person that is no id": lambda c: _signed({**c, "sub": "ada"}),
    "person that does not exist": lambda c: _signed({**c, "sub": ids.new_id()}),
    "cut": lambda c: _signed(c)[:-2],
    "payload changed": lambda c: _signed(c).replace(".", ".e30", 1),
    "too long": lambda c: _signed({**c, "filler": "x" * 4_096}),
    "no token at all": lambda c: "a.b.c",
    "empty": lambda c: "",
}


@pytest.mark.contract("NP-A-01")
@pytest.mark.parametrize("forgery", FORGERIES)
async def test_tokens_that_are_not_ours_open_nothing(
    client: Client, company: identity.Company, callers: identity.Identity, ada: identity.Person, forgery: str
) -> None:
    good = await token_of(callers, ada, company)
    claims = jwt.decode(good, options={"verify_signature": False})
    async with client(_signed(claims)) as person:
        assert (await person.get("/guard/member")).status_code == 200
    async with client(FORGERIES[forgery](claims)) as forger:
        answer = await forger.get("/guard/member")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.contract("NP-A-01")
async def test_a_token_is_good_for_fifteen_minutes(
    client: Client, clock: MovableClock, company: identity.Company, callers: identity.Identity, ada: identity.Person
) -> None:
    async with client(await token_of(callers, ada, company)) as person:
        clock.move(timedelta(minutes=14, seconds=59))
        assert (await person.get("/guard/member")).status_code == 200
        clock.move(timedelta(seconds=1))
        assert (await person.get("/guard/member")).status_code == 401


async def test_a_token_needs_nothing_that_one_node_remembers(
    db: Database, company: identity.Company, ada: identity.Person
) -> None:
    token = await token_of(identity.Identity(db, access_secret=ACCESS_SECRET), ada, company)
    assert (await identity.Identity(db, access_secret=ACCESS_SECRET).person(token)).id == ada.id
