"""A company whose owner sets rules, and the rooms that keep them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import pytest

from mainstay import identity, main, reactions, templates
from mainstay.kernel.db import Database
from mainstay.kernel.regions import Regions
from mainstay.kernel.work import Job
from tests.tenancy import OPERATOR, Tenancy, bearer

TEMPLATES, EVENTS, SCHEMAS = "/api/v1/templates", "/v1/key/workspace/events", "/v1/key/workspace/schemas"
ROLES = ("owner", "manager", "staff")


@pytest.fixture(autouse=True)
def no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules hold at once: nothing is taken from memory without asking whether it still holds."""
    monkeypatch.setattr("mainstay.templates.checking.FRESH_SECONDS", 0.0)


@dataclass
class Ruled:
    """One company under rules."""

    api: httpx.AsyncClient
    db: Database
    tenancy: Tenancy
    people: dict[str, dict[str, str]]

    async def call(self, method: str, path: str, *, role: str = "owner", **more: Any) -> httpx.Response:
        """The answer to a person of the company."""
        return await self.api.request(method, path, headers=self.people[role], **more)

    async def template(self, name: str = "t", mode: str = "enforce", **rules: Any) -> dict[str, Any]:
        """A template that no workspace has yet."""
        answer = await self.call("POST", TEMPLATES, json={"name": name, "mode": mode, "rules": rules})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def assign(self, template: Mapping[str, Any], workspace_id: str | None = None) -> None:
        """The workspace, or the first one, has the template."""
        path = f"{TEMPLATES}/{template['id']}/assignments/{workspace_id or self.tenancy.workspace_id}"
        assert (await self.call("PUT", path)).status_code == 204

    async def ruled(self, mode: str = "enforce", **rules: Any) -> dict[str, Any]:
        """A template that the first workspace has."""
        made = await self.template(mode=mode, **rules)
        await self.assign(made)
        return made

    async def schema(self, action: str, schema: Any, mode: str = "enforce") -> dict[str, Any]:
        """The schema of an action of the first workspace."""
        wanted = {"action": action, "schema": schema, "mode": mode}
        answer = await self.api.post(SCHEMAS, json=wanted, headers=self.tenancy.auth)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def send(self, *, key: str | None = None, idempotency: str | None = None, **event: Any) -> httpx.Response:
        """The answer to one event."""
        headers = self.tenancy.auth if key is None else {"x-api-key": key}
        headers = headers if idempotency is None else {**headers, "idempotency-key": idempotency}
        return await self.api.post(EVENTS, json={"action": "user.signed_in", **event}, headers=headers)

    async def stored(self) -> int:
        """How many events the first workspace has."""
        answer = await self.api.get(EVENTS, headers=self.tenancy.auth)
        total: int = answer.json()["meta"]["total"]
        return total

    async def announced(self, name: str) -> list[dict[str, Any]]:
        """The data of announcements of that name."""
        async with self.db.connection() as connection:
            found = await connection.fetch("select data from mainstay.announcements where name = $1 order by id", name)
        return [orjson.loads(row["data"]) for row in found]

    async def relay(self) -> None:
        """Everything that was announced has been reacted to."""
        relay = reactions.relay_of(Regions(self.db, {}), self.db)
        while await relay.run_once():
            continue

    async def check(self) -> list[dict[str, Any]]:
        """The rows of the report, newest first, after the daily check has ended."""
        kinds = {one.kind: one.run for one in templates.tasks(self.db, main.chain_reader(self.db))}
        start, run = kinds["templates.check"], kinds["templates.check_workspace"]
        assert start is not None
        assert run is not None
        await start(None)  # type: ignore[arg-type]
        while rows := await self._take_jobs():
            for row in rows:
                await run(job_of(row))
        answer = await self.call("GET", TEMPLATES + "/reports")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    async def _take_jobs(self) -> Sequence[Any]:
        async with self.db.connection() as connection:
            rows: Sequence[Any] = await connection.fetch(
                "delete from mainstay.jobs where kind = 'templates.check_workspace' returning id, payload"
            )
            return rows


def job_of(row: Any) -> Job:
    """A job as its handler sees it, with the payload of that row."""
    known: dict[str, Any] = dict.fromkeys(Job._fields)
    return Job(**{**known, "id": row["id"], "payload": orjson.loads(row["payload"])})


def faults(answer: httpx.Response) -> dict[str, str]:
    """Pointer and sentence of each fault of a refused event."""
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return {fault["pointer"]: fault["detail"] for fault in answer.json()["errors"]}


@pytest.fixture
async def company(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> Ruled:
    """A company with an owner, a manager and somebody of the staff."""
    people = {}
    async with db.begin() as tx:
        for role in ROLES:
            person = await identity.add_person(
                tx, OPERATOR, tenancy.company_id, email=f"{role}@example.com", name="P",
                password_hash="$argon2id$unused", role=role,
            )  # fmt: skip
            people[role] = await bearer(tx, person.id, tenancy.company_id)
    return Ruled(api, db, tenancy, people)
