"""The console as plain requests meet it: cookies, policies, tokens, roles, and what is refused."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from mainstay.kernel.db import Database
from tests.conftest import running_app
from tests.console.site import PASSWORD, csrf_of, people_of, sign_in
from tests.tenancy import Tenancy


@dataclass(frozen=True)
class Console:
    """The application in this process, and the people of one company."""

    app: httpx.AsyncClient
    emails: dict[str, str]
    tenancy: Tenancy

    def client(self) -> httpx.AsyncClient:
        """A browser profile of its own."""
        return httpx.AsyncClient(transport=self.app._transport, base_url="http://test")


@pytest.fixture
async def console(db: Database, tenancy: Tenancy) -> AsyncIterator[Console]:
    emails = await people_of(db, tenancy.company_id)
    async with running_app(db.dsn, CONSOLE_OPERATORS=emails["owner"].upper()) as app:
        yield Console(app, emails, tenancy)


async def test_a_cookie_that_scripts_and_other_sites_cannot_use(console: Console) -> None:
    async with console.client() as client:
        answer = await sign_in(client, console.emails["manager"], next="/console/place")
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/place")
        (cookie,) = [one for one in answer.headers.get_list("set-cookie") if one.startswith("mainstay_session=")]
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {"httponly", "samesite=lax", "path=/"} <= attributes
        assert any(one.startswith("expires=") for one in attributes)
        page = await client.get("/console")
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
        assert "frame-ancestors 'none'; base-uri 'none'" in policy
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "same-origin"


ELSEWHERE = ["https://evil.example/", "//evil.example", "/console//evil.example", "/\\evil.example", "/console\n", "/"]


@pytest.mark.parametrize("next_to", ELSEWHERE)
async def test_nobody_is_sent_elsewhere(next_to: str, console: Console) -> None:
    async with console.client() as client:
        answer = await sign_in(client, console.emails["manager"], next=next_to)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console")


async def test_without_the_token_of_the_session_nothing_happens(console: Console) -> None:
    async with console.client() as client, console.client() as other:
        await sign_in(client, console.emails["manager"])
        await sign_in(other, console.emails["manager"])
        ours = csrf_of((await client.get("/console")).text)
        theirs = csrf_of((await other.get("/console")).text)
        assert ours != theirs
        refused = [
            await client.post("/console/sign-out"),
            await client.post("/console/sign-out", data={"csrf": theirs}),
            await client.post("/console/sign-out", data={"csrf": ours}, headers={"sec-fetch-site": "cross-site"}),
            await client.post("/console/sign-out", data={"csrf": ours}, headers={"sec-fetch-site": "same-site"}),
            await client.post("/console/sign-out", data={"csrf": ours}, headers={"origin": "https://evil.example"}),
            await client.post("/console/sign-out", json={"csrf": ours}),
        ]
        assert [one.status_code for one in refused] == [403, 403, 403, 403, 403, 400]
        assert "Nothing was changed" in refused[0].text
        assert (await client.get("/console")).status_code == 200
        assert (await client.post("/console/sign-out", headers={"x-csrf-token": ours})).status_code == 303
        assert (await client.get("/console")).status_code == 303
        assert (await other.get("/console")).status_code == 200


async def test_signing_in_needs_the_form_that_was_shown(console: Console) -> None:
    async with console.client() as client:
        right = {"email": console.emails["manager"], "password": PASSWORD}
        assert (await client.post("/console/sign-in", data=right)).status_code == 403
        token = csrf_of((await client.get("/console/sign-in")).text)
        client.cookies.clear()
        assert (await client.post("/console/sign-in", data={**right, "csrf": token})).status_code == 403
        assert "mainstay_session" not in client.cookies


async def test_a_sign_in_page_gives_nobody_the_token_of_a_session(console: Console, db: Database) -> None:
    async with console.client() as client, console.client() as stranger:
        await sign_in(client, console.emails["manager"])
        async with db.connection() as connection:
            session_id = await connection.fetchval("select id::text from mainstay.sessions")
        stranger.cookies.set("mainstay_start", session_id)
        token = csrf_of((await stranger.get("/console/sign-in")).text)
        assert (await client.post("/console/sign-out", data={"csrf": token})).status_code == 403
        assert (await client.get("/console")).status_code == 200


async def test_htmx_is_sent_to_sign_in_and_forms_are_bounded(console: Console) -> None:
    async with console.client() as client:
        answer = await client.get("/console", headers={"hx-request": "true"})
        assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/console/sign-in?next=%2Fconsole")
        live = await client.get("/console/live/overview", headers={"accept": "text/event-stream"})
        assert live.status_code == 401
        assert (await client.post("/console/sign-in", content=b"a" * 65_537)).status_code == 413


async def test_over_https_the_browser_holds_the_cookie_to_this_host(db: Database, tenancy: Tenancy) -> None:
    emails = await people_of(db, tenancy.company_id)
    async with running_app(db.dsn, PUBLIC_URL="https://console.example") as app:
        client = httpx.AsyncClient(transport=app._transport, base_url="https://console.example")
        answer = await sign_in(client, emails["staff"])
        (cookie,) = [one for one in answer.headers.get_list("set-cookie") if one.startswith("__Host-mainstay_session=")]
        assert {"secure", "path=/", "httponly"} <= {part.strip().lower() for part in cookie.split(";")}
        assert "domain" not in cookie.lower()
        assert (await client.get("/console")).status_code == 200
        await client.aclose()


async def test_a_suspended_person_is_out_at_once(console: Console, db: Database) -> None:
    async with console.client() as client:
        await sign_in(client, console.emails["staff"])
        assert (await client.get("/console")).status_code == 200
        async with db.connection() as connection:
            await connection.execute(
                "update mainstay.people set suspended_at = mainstay.now() where email = $1", console.emails["staff"]
            )
        assert (await client.get("/console")).headers["location"] == "/console/sign-in?next=%2Fconsole"
        answer = await sign_in(client, console.emails["staff"])
        assert answer.status_code == 403
        assert "suspended" in answer.text


async def test_too_many_wrong_passwords_are_told_in_words(console: Console) -> None:
    async with console.client() as client:
        for _ in range(10):
            assert (await sign_in(client, "nobody@example.com", "wrong")).status_code == 401
        answer = await sign_in(client, "nobody@example.com", "wrong")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "600")
        assert "Too many wrong passwords" in answer.text
        assert "www-authenticate" not in answer.headers


async def test_the_service_as_a_whole_is_for_operators(console: Console) -> None:
    for role, sees in (("owner", True), ("manager", False), ("staff", False)):
        async with console.client() as client:
            await sign_in(client, console.emails[role])
            page = (await client.get("/console")).text
            assert ('id="chart-depth-data"' in page) is sees
            assert ("operator</span>" in page) is sees


async def test_a_page_that_is_not_there_says_so_in_the_frame(console: Console) -> None:
    async with console.client() as client:
        await sign_in(client, console.emails["staff"])
        answer = await client.get("/console/nowhere")
        assert answer.status_code == 404
        assert "Nothing was lost" in answer.text
        assert answer.headers["x-request-id"] in answer.text
        asset = await client.get("/console/static/console.000000000000.css")
        assert asset.status_code == 404


async def test_files_are_kept_by_browsers_for_ever(console: Console) -> None:
    async with console.client() as client:
        page = (await client.get("/console/sign-in")).text
        for address in set(re.findall(r'(?:src|href)="(/console/static/[^"#]+)', page)):
            answer = await client.get(address)
            assert answer.status_code == 200
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
