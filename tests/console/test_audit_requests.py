"""Pages of the audit log as plain requests meet them: exports, saved filters, and what is each one's own."""

import csv
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest

from mainstay import plans
from mainstay.kernel.db import Database
from tests.conftest import running_app
from tests.console.site import csrf_of, people_of, sign_in
from tests.tenancy import OPERATOR, Tenancy

EVENTS = "/console/events"


@dataclass(frozen=True)
class Console:
    """The application in this process, and a browser profile for each role of one company."""

    app: httpx.AsyncClient
    tenancy: Tenancy
    profiles: dict[str, httpx.AsyncClient]
    tokens: dict[str, str]

    async def send(self, **more: Any) -> None:
        """An event is stored."""
        event = {"action": "user.signed_in", "actor": {"id": "u-1"}, **more}
        answer = await self.app.post("/v1/key/workspace/events", json=event, headers=self.tenancy.auth)
        assert answer.status_code == 201

    async def get(self, path: str, role: str = "owner") -> httpx.Response:
        """The page."""
        return await self.profiles[role].get(path)

    async def post(self, path: str, role: str = "owner", **fields: str) -> httpx.Response:
        """The answer to a form of a page."""
        return await self.profiles[role].post(path, data={"csrf": self.tokens[role], **fields})


@pytest.fixture
async def console(db: Database, tenancy: Tenancy) -> AsyncIterator[Console]:
    emails = await people_of(db, tenancy.company_id)
    async with running_app(db.dsn) as app:
        profiles, tokens = {}, {}
        for role, email in emails.items():
            profiles[role] = httpx.AsyncClient(transport=app._transport, base_url="http://test")
            await sign_in(profiles[role], email)
            tokens[role] = csrf_of((await profiles[role].get("/console")).text)
        yield Console(app, tenancy, profiles, tokens)


async def test_an_export_is_what_the_list_shows(console: Console) -> None:
    for n in range(3):
        await console.send(projectId="p-1", payload={"n": n})
    await console.send(projectId="p-2")
    answer = await console.get(f"{EVENTS}/export.csv?projectId=p-1&from=1h", "staff")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith('attachment; filename="events-')
    assert answer.headers["x-export-truncated"] == "false"
    assert len(list(csv.DictReader(io.StringIO(answer.text)))) == 3
    lines = (await console.get(f"{EVENTS}/export.ndjson?projectId=p-2")).text.splitlines()
    assert orjson.loads(lines[0])["projectId"] == "p-2"
    whole = orjson.loads((await console.get(f"{EVENTS}/export.json?projectId=p-1")).content)
    assert len(whole["data"]) == 3


async def test_an_export_keeps_to_the_workspace_and_the_company(console: Console) -> None:
    await console.send(projectId="p-here")
    await console.post("/console/place", workspace=console.tenancy.other_workspace_id)
    assert len((await console.get(f"{EVENTS}/export.csv?projectId=p-here")).text.splitlines()) == 1
    assert len((await console.get(f"{EVENTS}/export.csv?projectId=p-here", "manager")).text.splitlines()) == 2
    assert (await console.get(f"{EVENTS}/export.csv?from=never")).status_code == 400


async def test_the_cap_of_the_plan_is_told_before(console: Console, db: Database) -> None:
    await console.send()
    assert "The plan growth gives up to 250\u202f000, so it will be whole" in (await console.get(EVENTS)).text
    async with db.begin() as tx:
        await plans.set_plan(tx, OPERATOR, console.tenancy.company_id, plan="enterprise")
    assert "Your plan sets no limit" in (await console.get(EVENTS)).text
    async with db.begin() as tx:
        await plans.set_limit(tx, OPERATOR, console.tenancy.company_id, name="export_rows", amount=1)
    await console.send()
    assert "At most 1 event<" in (await console.get(EVENTS)).text
    assert (await console.get(f"{EVENTS}/export.csv")).headers["x-export-truncated"] == "true"
    assert (
        f'href="{EVENTS}/export.csv?action=user.signed_in"'
        in (await console.get(f"{EVENTS}?action=user.signed_in")).text
    )


async def test_filters_are_kept_applied_and_deleted_by_their_person_alone(console: Console) -> None:
    made = await console.post(f"{EVENTS}/saved", "staff", **{"as": " Sign  ins ", "action": "user.signed_in", "x": "y"})
    assert (made.status_code, made.headers["location"]) == (303, f"{EVENTS}?action=user.signed_in")
    page = (await console.get(EVENTS, "staff")).text
    assert "Kept as Sign ins" in page
    assert f'<a href="{EVENTS}?action=user.signed_in">' in page
    assert "Sign ins" not in (await console.get(EVENTS)).text
    saved = page.partition('name="saved" value="')[2].partition('"')[0]
    assert (await console.post(f"{EVENTS}/saved/delete", saved=saved)).status_code == 404
    assert (await console.post(f"{EVENTS}/saved/delete", "staff", saved=saved)).status_code == 303
    assert "Delete the saved filter" not in (await console.get(EVENTS, "staff")).text


async def test_what_cannot_be_kept_is_refused(console: Console) -> None:
    for fields, words in (
        ({"as": "x" * 61, "action": "a"}, "must have 1 to 60 characters"),
        ({"as": "", "action": "a"}, "must have 1 to 60 characters"),
        ({"as": "a\x00b", "action": "a"}, "must have 1 to 60 characters"),
        ({"as": "none"}, "There is no filter to save"),
        ({"as": "when", "from": "soon"}, "must be a date"),
    ):
        answer = await console.post(f"{EVENTS}/saved", **fields)
        assert answer.status_code == 400
        assert words in answer.text
    for n in range(30):
        assert (await console.post(f"{EVENTS}/saved", **{"as": f"n{n}", "action": "a"})).status_code == 303
    assert "You keep 30 filters already" in (await console.post(f"{EVENTS}/saved", **{"as": "o", "action": "a"})).text
    replaced = await console.post(f"{EVENTS}/saved", **{"as": "n0", "action": "b"})
    assert replaced.status_code == 303
    assert f'<a href="{EVENTS}?action=b" aria-current="true">' in (await console.get(f"{EVENTS}?action=b")).text
