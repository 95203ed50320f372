"""The webhooks room over HTTP, two tenants with everybody's credentials, and a worker that runs when told."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from mainstay import identity, webhooks
from mainstay.kernel import ids, telemetry
from mainstay.kernel.addresses import parse_allow_list
from mainstay.kernel.clock import SystemClock
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.outbound import Outbound
from mainstay.kernel.outbox import Actor
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import Regions
from mainstay.kernel.settings import Settings
from mainstay.web import problem
from mainstay.web.front import Front
from mainstay.web.limiting import Unlimited
from tests.tenancy import open_session
from tests.webhooks.line import Line

OPERATOR = Actor(kind="operator", id="operator", name="Operator")
KEYRING = Keyring("a master secret of 32 characters or more")
UNUSABLE = "$argon2id$nobody logs in with a password here"
COMPANY_PATH = "/v1/key/company/webhooks"
PEOPLE_PATH = "/api/v1/webhooks"


def make_settings(**more: Any) -> Settings:
    """Settings that let webhooks reach this machine."""
    values = {
        "database_url": "postgresql://unused",
        "secret": "a master secret of 32 characters or more",
        "jwt_access_secret": "a secret for access tokens of 32+ characters",
        "outbound_allow": parse_allow_list("127.0.0.0/8"),
    }
    return Settings(**{**values, **more})


@dataclass
class Tenant:
    """A company with its workspaces and a client for each kind of credential."""

    company_id: str
    workspace_id: str
    other_workspace_id: str
    key: httpx.AsyncClient
    reading_key: httpx.AsyncClient
    workspace_key: httpx.AsyncClient
    owner: httpx.AsyncClient
    manager: httpx.AsyncClient
    staff: httpx.AsyncClient

    async def webhook(self, url: str = "http://127.0.0.1:9/hook", *events: str, **more: Any) -> dict[str, Any]:
        """A webhook made with the company's key, secret included."""
        body = {"url": url, "events": list(events) or ["*"], **more}
        answer = await self.key.post(COMPANY_PATH, json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def log(self, webhook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
        """The webhook's deliveries, newest first."""
        answer = await self.key.get(f"{COMPANY_PATH}/{webhook['id']}/logs", params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["data"])


@pytest.fixture
def settings() -> Settings:
    return make_settings()


@pytest.fixture
def who(db: Database) -> identity.Identity:
    return identity.Identity(db, access_secret="a secret for access tokens of 32+ characters")


@pytest.fixture
def app(db: Database, who: identity.Identity, settings: Settings) -> Front:
    inner = FastAPI()
    inner.state.callers = who
    inner.state.limiter = inner.state.key_rates = Unlimited()
    inner.include_router(webhooks.router(Regions(db, {}), settings, KEYRING, Cursors(KEYRING), identity.find_workspace))

    @inner.exception_handler(MainstayError)
    async def tell(request: Request, error: MainstayError) -> Response:
        request_id = telemetry.current_trace().request_id
        status, headers, body = problem.render(error, request_id=request_id, instance=request.url.path)
        return Response(body, status, {name.decode(): value.decode() for name, value in headers})

    return Front(inner, {})


@pytest.fixture
async def make_tenant(db: Database, app: Front, who: identity.Identity) -> Callable[[str], Awaitable[Tenant]]:
    def client(token: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app=app)
        headers = {"authorization": f"Bearer {token}"}
        return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)

    async def make(name: str) -> Tenant:
        async with db.begin() as tx:
            company = await identity.open_company(tx, OPERATOR, name=name)
            one = await identity.open_workspace(tx, OPERATOR, company.id, name="One")
            two = await identity.open_workspace(tx, OPERATOR, company.id, name="Two")
            clients = {}
            for field_name, more in (
                ("key", {"kind": "company"}),
                ("reading_key", {"kind": "company", "read_only": True}),
                ("workspace_key", {"kind": "workspace", "workspace_id": one.id}),
            ):
                issued = await identity.issue_key(tx, OPERATOR, company.id, name=field_name, **more)
                clients[field_name] = client(issued.secret)
            for role in ("owner", "manager", "staff"):
                person = await identity.add_person(
                    tx,
                    OPERATOR,
                    company.id,
                    email=f"{role}@{company.slug}.test",
                    name=role,
                    password_hash=UNUSABLE,
                    role=role,
                )
                session_id = await open_session(tx, person.id, company.id)
                token = who.tokens.sign(person_id=person.id, company_id=company.id, session_id=session_id)
                clients[role] = client(token)
        return Tenant(company.id, one.id, two.id, **clients)

    return make


@pytest.fixture
async def tenant(make_tenant: Callable[[str], Awaitable[Tenant]]) -> Tenant:
    return await make_tenant("Acme")


@pytest.fixture
async def stranger(make_tenant: Callable[[str], Awaitable[Tenant]]) -> Tenant:
    return await make_tenant("Brook")


@pytest.fixture
def deadline_seconds() -> float:
    """How long a try of `line` may take; a test whose receiver never answers makes it short."""
    return 30.0


@pytest.fixture
async def line(db: Database, settings: Settings, deadline_seconds: float) -> AsyncIterator[Line]:
    """A worker that runs when told."""
    outbound = Outbound(allow=settings.outbound_allow, timeout_seconds=deadline_seconds)
    yield Line(db, webhooks.tasks(db, outbound, KEYRING, settings, clock=SystemClock()))
    await outbound.close()


async def publish(db: Database, tenant: Tenant, kind: str, body: str | None = None, **more: Any) -> webhooks.Message:
    """A message is published in a transaction of its own."""
    message = webhooks.Message(
        id=ids.new_id(),
        company_id=tenant.company_id,
        workspace_id=more.get("workspace_id", tenant.workspace_id),
        type=kind,
        body=body or json.dumps({"type": kind, "data": {"n": 1}}, separators=(",", ":")),
        trace_id=more.get("trace_id", ids.new_trace_id()),
    )
    async with db.begin() as tx:
        await webhooks.publish(tx, [message])
    return message


async def count(db: Database, table: str, where: str = "true") -> int:
    """Rows of a table."""
    async with db.connection() as connection:
        return int(await connection.fetchval(f"select count(*) from mainstay.{table} where {where}"))


async def announced(db: Database, name: str) -> list[dict[str, Any]]:
    """What was announced under that name, oldest first: actor and data."""
    async with db.connection() as connection:
        rows = await connection.fetch(
            "select actor, data from mainstay.announcements where name = $1 order by id", name
        )
    return [{"actor": json.loads(row["actor"]), **json.loads(row["data"])} for row in rows]
