"""Ways in and a person's own account as plain requests meet them: what is refused stands at its field, nothing is lost,
and nothing secret stays anywhere."""

import re
import secrets
import time

import httpx

from mainstay.console import onward
from mainstay.console.devices import device_of
from mainstay.console.drafts import Draft
from mainstay.kernel.db import Database, Sql
from mainstay.kernel.errors import Fault, Invalid
from tests.accounts.mailbox import announced, letters, token_of, work
from tests.console.audit import Console
from tests.console.site import PASSWORD, csrf_of, sign_in
from tests.mfa.rfc6238 import code_at
from tests.tenancy import bearer

ACCOUNT = "/console/account"
FACTOR = f"{ACCOUNT}/second-factor"
NEW = "seven quiet herons at dusk"
_SECRET = re.compile(r'id="secret">([A-Z2-7]+)<')
_AREA = '<a href="/console/webhooks"'


def visitor(console: Console) -> httpx.AsyncClient:
    """A browser profile that nobody used."""
    return httpx.AsyncClient(transport=console.app._transport, base_url="http://test")


async def send(client: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    """The answer to the form of that page, with its hidden fields."""
    html = (await client.get(path)).text
    hidden = dict(re.findall(r'<input type="hidden" name="([\w.]+)" value="([^"]*)"', html))
    return await client.post(path.partition("?")[0], data={**hidden, **fields})


async def land(client: httpx.AsyncClient, path: str, token: str) -> None:
    """The link of a letter is opened; its token is in no address from then on."""
    answer = await client.get(f"{path}?token={token}")
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    (cookie,) = answer.headers.get_list("set-cookie")
    assert {"httponly", "samesite=lax", f"path={path}"} <= {part.strip().lower() for part in cookie.split(";")}


async def age(db: Database) -> None:
    """What everybody proved is an hour old."""
    sql = """update mainstay.sessions set authenticated_at = authenticated_at - interval '1 hour',
             strong_at = strong_at - interval '1 hour' returning 1"""
    await db.value(Sql("test.age", sql))


async def person_of(db: Database, email: str) -> str:
    return str(await db.value(Sql("test.person", "select id from mainstay.people where email = $1"), email))


async def email_of(console: Console, role: str) -> str:
    found = re.search(r"([\w.-]+@example\.com)<", (await console.get(ACCOUNT, role)).text)
    assert found is not None
    return found[1]


async def test_registering_says_what_is_wrong_where_it_is_and_signs_in(console: Console, db: Database) -> None:
    email = f"{secrets.token_hex(6)}@example.com"
    async with visitor(console) as client:
        given = {"companyName": "Heron <Works>", "name": "Ada", "email": email}
        refused = await send(client, "/console/register", **given, password="password")
        assert (refused.status_code, refused.text.count('aria-invalid="true"')) == (400, 1)
        assert "This is one of the passwords that are tried first" in refused.text
        assert 'value="Heron &lt;Works&gt;"' in refused.text
        assert 'value="password"' not in refused.text
        assert (await client.post("/console/register", data={**given, "password": NEW, "csrf": "x"})).status_code == 403
        entered = await send(client, "/console/register", **given, password=NEW)
        assert (entered.status_code, entered.headers["location"]) == (303, "/console")
        assert "asks you to confirm your address" in (await client.get("/console")).text
        await land(client, "/console/confirm-email", await token_of(db, email))
        for _ in range(2):
            assert "Confirm the address" in (await client.get("/console/confirm-email")).text
        assert (await send(client, "/console/confirm-email")).headers["location"] == ACCOUNT
        assert f"{email} is confirmed" in (await client.get(ACCOUNT)).text
    async with visitor(console) as other:
        taken = await send(other, "/console/register", **{**given, "email": email.upper()}, password=NEW)
        assert (taken.status_code, "Somebody else already has this email" in taken.text) == (409, True)
        assert "mainstay_session" not in other.cookies


async def test_a_forgotten_password_is_replaced_by_a_link_that_signs_nobody_in(console: Console, db: Database) -> None:
    email = await email_of(console, "staff")
    async with visitor(console) as client:
        known, unknown = [
            await send(client, "/console/forgot-password", email=one) for one in (email, "nobody@example.com")
        ]
        assert known.status_code == unknown.status_code == 200
        assert known.text.replace(email, "x") == unknown.text.replace("nobody@example.com", "x")
        await work(db)
        await land(client, "/console/reset-password", await token_of(db, email))
        refused = await send(client, "/console/reset-password", newPassword="short")
        assert (refused.status_code, "This must have 8 to" in refused.text) == (400, True)
        done = await send(client, "/console/reset-password", newPassword=NEW)
        assert (done.status_code, done.headers["location"]) == (303, "/console/sign-in")
        assert "mainstay_session" not in client.cookies
        assert "every session has ended" in (await client.get("/console/sign-in")).text
        assert "This link is over" in (await client.get("/console/reset-password")).text
        assert (await console.get(ACCOUNT, "staff")).status_code == 303
        assert (await sign_in(client, email, NEW)).status_code == 303


async def test_what_needs_a_proof_asks_for_it_and_goes_on(console: Console, db: Database) -> None:
    path, wish = f"{ACCOUNT}/email", {"email": "ada.new@example.com"}
    await age(db)
    asked = await console.get(path)
    assert asked.headers["location"] == f"{ACCOUNT}/prove?next=%2Fconsole%2Faccount%2Femail"
    client = console.profiles["owner"]
    before = client.cookies["mainstay_session"]
    waits = await console.post(path, **wish)
    assert (waits.status_code, 'name="again.email" value="ada.new@example.com"' in waits.text) == (403, True)
    carried = {"next": path, "sent": "1", "again.email": wish["email"]}
    wrong = await console.post(f"{ACCOUNT}/prove", **carried, password="wrong")
    assert (wrong.status_code, 'name="again.email"' in wrong.text) == (403, True)
    ready = await console.post(f"{ACCOUNT}/prove", **carried, password=PASSWORD)
    assert (ready.status_code, f'action="{path}"' in ready.text, PASSWORD in ready.text) == (200, True, False)
    assert client.cookies["mainstay_session"] != before
    console.tokens["owner"] = csrf_of(ready.text)
    assert (await console.post(path, **wish)).headers["location"] == ACCOUNT
    assert ("email_change", wish["email"]) in [one[:2] for one in await letters(db)]
    async with visitor(console) as thief:
        thief.cookies.set("mainstay_session", before)
        assert (await thief.get(ACCOUNT)).status_code == 303


async def test_a_session_of_the_api_proves_itself_in_the_console_and_has_new_tokens(
    console: Console, db: Database
) -> None:
    email = await email_of(console, "staff")
    async with visitor(console) as client:
        await client.post("/api/v1/auth/login", json={"email": email, "password": PASSWORD})
        before = client.cookies["mainstay_access"]
        await age(db)
        asked = (await client.get(f"{ACCOUNT}/email")).headers["location"]
        proved = await send(client, asked, password=PASSWORD)
        assert (proved.status_code, proved.headers["location"]) == (303, f"{ACCOUNT}/email")
        assert client.cookies["mainstay_access"] != before
        assert (await client.get(f"{ACCOUNT}/email")).status_code == 200
        assert "mainstay_session" not in client.cookies


async def test_where_a_proof_leads_is_a_page_of_the_console(console: Console) -> None:
    for href in ("https://evil.example/", "//evil.example", "/console/sign-in", f"{ACCOUNT}/prove", "/api/v1/auth/me"):
        answer = await console.post(f"{ACCOUNT}/prove", next=href, password=PASSWORD)
        assert answer.headers["location"] == "/console"
        console.tokens["owner"] = csrf_of((await console.get(ACCOUNT)).text)


async def test_a_demanded_second_factor_comes_before_all_else(console: Console, db: Database) -> None:
    demand = "update mainstay.companies set mfa_required_from = mainstay.now() - interval '1 day' returning 1"
    await db.value(Sql("test.demand", demand))
    for path in ("/console", "/console/webhooks", "/console/events"):
        assert (await console.get(path)).headers["location"] == FACTOR
    assert (await console.post("/console/webhooks", url="x")).headers["location"] == FACTOR
    page = (await console.get(FACTOR)).text
    assert ("demands a second factor" in page, _AREA in page) == (True, False)
    assert (await console.post(f"{FACTOR}/setup")).headers["location"] == FACTOR
    shown = (await console.get(FACTOR)).text
    found = _SECRET.search(shown)
    assert found is not None
    assert "data:image/png;base64," in shown
    assert (await console.post(f"{FACTOR}/verify", code="000000")).status_code == 400
    assert (await console.post(f"{FACTOR}/setup", "manager")).headers["location"] == FACTOR
    assert _SECRET.search((await console.get(FACTOR, "manager")).text) is not None
    async with visitor(console) as other:
        other.cookies.set("mainstay_session", console.profiles["manager"].cookies["mainstay_session"])
        other.cookies.set("mainstay_setup", console.profiles["owner"].cookies["mainstay_setup"])
        foreign = await other.get(FACTOR)
        assert (foreign.status_code, _SECRET.search(foreign.text)) == (200, None)
    done = await console.post(f"{FACTOR}/verify", code=code_at(found[1], int(time.time()) // 30))
    codes = re.findall(r"<li><code>([\w-]+)</code>", done.text)
    assert (done.status_code, len(codes), found[1] in done.text) == (200, 10, False)
    after = (await console.get(FACTOR)).text
    assert (found[1] in after, codes[0] in after, "It is on" in after) == (False, False, True)
    assert _AREA in (await console.get("/console")).text
    refused = await console.post(f"{FACTOR}/off", off="12345")
    assert (refused.status_code, 'id="field-off"' in refused.text, "aria-invalid" in refused.text) == (400, True, True)
    renewed = await console.post(f"{FACTOR}/codes", renew=codes[0])
    fresh = re.findall(r"<li><code>([\w-]+)</code>", renewed.text)
    assert (len(fresh), set(fresh) & set(codes)) == (10, set())
    assert (await console.post(f"{FACTOR}/off", off=fresh[0])).headers["location"] == FACTOR
    assert (await console.get("/console")).headers["location"] == FACTOR


async def test_sessions_are_shown_and_ended(console: Console) -> None:
    email = await email_of(console, "manager")
    async with visitor(console) as other, visitor(console) as third:
        other.headers["user-agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        for one in (other, third):
            assert (await sign_in(one, email)).status_code == 303
        page = (await console.get(f"{ACCOUNT}/sessions", "manager")).text
        assert (page.count("this one</span>"), "Firefox on Linux" in page) == (1, True)
        found = re.search(r'sessions/([\w-]{36})/end".{0,200}Firefox on Linux', page, re.DOTALL)
        assert found is not None
        ended = await console.post(f"{ACCOUNT}/sessions/{found[1]}/end", "manager")
        assert ended.headers["location"] == f"{ACCOUNT}/sessions"
        assert (await other.get(ACCOUNT)).status_code == 303
        assert (await third.get(ACCOUNT)).status_code == 200
        assert (await console.post(f"{ACCOUNT}/sessions/others/end", "manager")).status_code == 303
        assert (await third.get(ACCOUNT)).status_code == 303
        assert (await console.get(ACCOUNT, "manager")).status_code == 200


async def test_profile_and_password_are_changed_with_what_is_wrong_at_its_field(console: Console, db: Database) -> None:
    refused = await console.post(ACCOUNT, name="Ada", title="Lead", phone="no", timeZone="Mars/Olympus", locale="en")
    assert (refused.status_code, refused.text.count('aria-invalid="true"')) == (400, 2)
    assert 'value="Lead"' in refused.text
    given = {"name": "Ada <b>", "title": "Lead", "phone": "", "timeZone": "Europe/Zurich", "locale": "de-CH"}
    assert (await console.post(ACCOUNT, **given)).status_code == 303
    page = (await console.get(ACCOUNT)).text
    assert ('value="Ada &lt;b&gt;"' in page, '"Europe/Zurich" selected' in page) == (True, True)
    wrong = await console.post(f"{ACCOUNT}/password", current="wrong", newPassword=NEW)
    assert (wrong.status_code, "The current password is wrong" in wrong.text, NEW in wrong.text) == (403, True, False)
    weak = await console.post(f"{ACCOUNT}/password", current=PASSWORD, newPassword="password")
    assert (weak.status_code, "passwords that are tried first" in weak.text) == (400, True)
    assert (await console.post(f"{ACCOUNT}/password", current=PASSWORD, newPassword=NEW)).status_code == 303
    assert len(await announced(db, "password.changed")) == 1


async def test_who_is_invited_joins_with_a_new_account_or_their_own(console: Console, db: Database) -> None:
    path = "/console/accept-invitation"
    owner = await bearer(db, await person_of(db, await email_of(console, "owner")), console.tenancy.company_id)

    async def invite(email: str) -> str:
        body = {"email": email, "role": "staff"}
        assert (await console.app.post("/api/v1/invites", json=body, headers=owner)).status_code == 201
        return await token_of(db, email)

    email = f"{secrets.token_hex(6)}@example.com"
    async with visitor(console) as client:
        await land(client, path, await invite(email))
        weak = await send(client, path, name="Ben", password="short")
        assert (weak.status_code, 'value="Ben"' in weak.text) == (400, True)
        joined = await send(client, path, name="Ben", password=NEW)
        assert (joined.status_code, joined.headers["location"]) == (303, "/console")
        assert "You are a member of Test company now." in (await client.get("/console")).text
        assert (await client.get(f"{path}?token=ml_other")).status_code == 303
        assert "This invitation is over" in (await client.get(path)).text
    async with visitor(console) as client:
        known = f"{secrets.token_hex(6)}@example.com"
        given = {"companyName": "Other company", "name": "Cleo", "email": known, "password": NEW}
        assert (await send(client, "/console/register", **given)).status_code == 303
        await land(client, path, await invite(known))
        page = (await client.get(path)).text
        assert ('type="password"' in page, "Join Test company" in page) == (False, True)
        async with visitor(console) as elsewhere:
            await land(elsewhere, path, await token_of(db, known))
            wrong = await send(elsewhere, path, password="wrong")
            assert (wrong.status_code, "not the password of that account" in wrong.text) == (401, True)
            assert "mainstay_session" not in elsewhere.cookies
        assert (await send(client, path)).headers["location"] == "/console"
        assert '<span class="place-company">Test company</span>' in (await client.get("/console")).text


def test_what_waits_for_a_proof_holds_no_secret() -> None:
    page, href = f"{ACCOUNT}/email", "/console/keys/1"
    sent = [("csrf", "t"), ("name", "k"), ("scope", "a"), ("scope", "b")]
    assert onward.wish_of(href, sent, page=page) == onward.Wish(href, sent[1:])
    assert onward.wish_of(href, [*sent, ("password", "p")], page=page) == onward.Wish(page)
    assert onward.wish_of("/api/v1/x", sent, page=page) == onward.Wish("/console")
    carried = [("next", href), ("sent", "1"), *((f"again.{name}", value) for name, value in sent[1:])]
    assert onward.read_wish(carried) == onward.Wish(href, sent[1:])
    assert onward.read_wish([("next", "//evil.example"), ("sent", "1"), ("again.a", "b")]) == onward.Wish("/console")
    assert onward.path_of("https://a.example/console/keys?x=1") == "/console/keys?x=1"
    assert onward.path_of("") == onward.path_of("about:blank") == ""


def test_faults_stand_at_their_fields_and_devices_read_as_people_say() -> None:
    draft = Draft.of(("name", "code"), {"name": " Ada ", "code": "1"}, hidden=("code",))
    assert draft.typed == {"name": "Ada", "code": ""}
    assert draft.take(Invalid(faults=[Fault("must differ", "#/code"), Fault("too long", "#/name")]))
    assert (draft.wrong, draft.first_wrong) == ({"code": "This must differ.", "name": "Too long."}, "name")
    assert not Draft.of(["name"]).take(Invalid(faults=[Fault("is unknown", "#/other")]))
    assert device_of("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1") == (
        "Safari on iPhone"
    )
    assert (device_of(""), device_of("curl/8.5.0"), device_of("x" * 99)) == ("Unknown device", "curl", "x" * 40)
