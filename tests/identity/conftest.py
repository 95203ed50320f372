"""An application of the identity room alone, and the tenants that its tests need."""

import functools
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request, Response

from mainstay import identity
from mainstay.identity.keys import IssuedKey
from mainstay.kernel import telemetry
from mainstay.kernel.clock import MovableClock
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.outbox import Actor
from mainstay.kernel.paging import Cursors
from mainstay.kernel.regions import Regions
from mainstay.web import problem
from mainstay.web.callers import Caller, May, Operator, WorkspaceKey
from mainstay.web.front import Front
from mainstay.web.limiting import Unlimited

ACCESS_SECRET = "a secret for access tokens of 32+ characters"
INTERNAL_TOKEN = "the operators' token of at least 32 characters"
PASSWORD = "correct horse battery staple"
ACTOR = Actor(kind="operator", id="operator", name="Operator")

Client = Callable[..., httpx.AsyncClient]
KeyMaker = Callable[..., Awaitable[IssuedKey]]


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock(datetime.now(UTC).replace(microsecond=0))


@pytest.fixture
def passwords() -> Iterator[identity.Passwords]:
    made = identity.Passwords(memory_kib=19 * 1024, passes=2)
    yield made
    made.close()


@pytest.fixture
def callers(db: Database, clock: MovableClock) -> identity.Identity:
    return identity.Identity(db, access_secret=ACCESS_SECRET, internal_token=INTERNAL_TOKEN, clock=clock)


async def no_figures(_: Caller, workspace_id: str) -> dict[str, Any]:
    """What rooms above tell of a workspace; here there are none."""
    raise AssertionError(workspace_id)


@pytest.fixture
def app(db: Database, callers: identity.Identity) -> Front:
    """The room's routes, and one route for every guard that the room fulfils."""
    inner = FastAPI()
    cursors = Cursors(Keyring("a master secret of 32 characters or more"))
    inner.include_router(identity.router(Regions(db, {}), cursors, no_figures))
    inner.state.callers = callers
    inner.state.limiter = inner.state.key_rates = Unlimited()

    @inner.post("/v1/key/workspace/anything")
    async def write_something(caller: WorkspaceKey) -> str:
        return caller.id

    @inner.get("/guard/member")
    async def member(caller: Annotated[Caller, Depends(May("account.use"))]) -> str:
        return caller.id

    @inner.get("/guard/manager")
    async def manager(caller: Annotated[Caller, Depends(May("company.change"))]) -> str:
        return caller.id

    @inner.get("/guard/owner")
    async def owner(caller: Annotated[Caller, Depends(May("company.secure"))]) -> str:
        return caller.id

    @inner.get("/guard/operator")
    async def operator(caller: Operator) -> str:
        return caller.id

    @inner.exception_handler(MainstayError)
    async def told(request: Request, error: MainstayError) -> Response:
        request_id = telemetry.current_trace().request_id
        status, headers, body = problem.render(error, request_id=request_id, instance=request.url.path)
        return Response(body, status, {name.decode(): value.decode() for name, value in headers})

    return Front(inner, {})


@pytest.fixture
def client(app: Front) -> Client:
    """Makes clients that call from an address with a credential."""

    def make(bearer: str | None = None, *, address: str = "127.0.0.1", **headers: str) -> httpx.AsyncClient:
        if bearer is not None:
            headers["authorization"] = f"Bearer {bearer}"
        transport = httpx.ASGITransport(app=app, client=(address, 50_000))
        return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)

    return make


@pytest.fixture
async def company(db: Database) -> identity.Company:
    async with db.begin() as tx:
        return await identity.open_company(tx, ACTOR, name="Acme Ltd")


@pytest.fixture
async def other_company(db: Database) -> identity.Company:
    async with db.begin() as tx:
        return await identity.open_company(tx, ACTOR, name="Brook & Co")


@pytest.fixture
async def workspace(db: Database, company: identity.Company) -> identity.Workspace:
    async with db.begin() as tx:
        return await identity.open_workspace(tx, ACTOR, company.id, name="Production")


async def issue(
    db: Database, company: identity.Company, workspace: identity.Workspace | None, **more: Any
) -> IssuedKey:
    """A key of that workspace, or of the company."""
    place = {"kind": "company"} if workspace is None else {"kind": "workspace", "workspace_id": workspace.id}
    async with db.begin() as tx:
        return await identity.issue_key(tx, ACTOR, company.id, **{"name": "a key", **place, **more})


@pytest.fixture
def workspace_key(db: Database, company: identity.Company, workspace: identity.Workspace) -> KeyMaker:
    return functools.partial(issue, db, company, workspace)


@pytest.fixture
def company_key(db: Database, company: identity.Company) -> KeyMaker:
    return functools.partial(issue, db, company, None)


async def add(
    db: Database, passwords: identity.Passwords, company: identity.Company, email: str, role: str, **more: str
) -> identity.Person:
    """A member of the company with the usual password."""
    hashed = await passwords.hash(more.get("password", PASSWORD))
    async with db.begin() as tx:
        name = more.get("name", "Ada Lane")
        return await identity.add_person(tx, ACTOR, company.id, email=email, name=name, password_hash=hashed, role=role)


async def announced(db: Database, name: str) -> list[Any]:
    """What has been announced under that name, oldest first."""
    async with db.connection() as connection:
        found = await connection.fetch(
            "select company_id::text, actor::text, data::text from mainstay.announcements where name = $1 order by id",
            name,
        )
    return found
