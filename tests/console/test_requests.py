"""The console as plain requests meet it: cookies, policies, tokens, roles, and what is refused."""

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
        assert {"httponly", "samesite=lax", "path=/", "max-age=604800"} <= attributes
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


async def test_htmx_is_sent_to_sign_in_and_forms_are_bounded(console: Console) -> None:
    async with console.client() as client:
        answer = await client.get("/console", headers={"hx-request": "true"})
        assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/console/sign-in?next=%2Fconsole")
        live = await client.get("/console/live/overview", headers={"accept": "text/event-stream"})
        assert live.status_code == 401
        assert (await client.post("/console/sign-in", content=b"a" * 65_537)).status_code == 413
