"""Every route of the application against everybody who may not call it.

The table is the application itself: a new route is covered by what its guard says. A route without a guard must be
listed in PUBLIC, a path parameter or a body that is new here must be described, or these tests fail.
"""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from mainstay import identity, main
from mainstay.console.guards import PageMay
from mainstay.kernel import ids
from mainstay.kernel.db import Database
from mainstay.kernel.objects import Objects
from mainstay.web.callers import READING, KeyGuard, May, OperatorGuard
from mainstay.web.roles import FEATURES, Act, Feature, Role
from tests.conftest import cut_database, drop_database, running_app
from tests.events.tails import open_tail
from tests.mfa import walk as factors
from tests.tenancy import OPERATOR, Tenancy, bearer, open_session, open_tenancy, refresh_beside, test_settings

PUBLIC = {
    ("GET", "/openapi.json"): "the description of the API",
    ("GET", "/docs"): "the same as a page",
    ("GET", "/api/v1/health/live"): "probes carry no credential",
    ("GET", "/api/v1/health/ready"): "probes carry no credential",
    ("GET", "/api/_health/live"): "probes carry no credential",
    ("GET", "/api/_health/ready"): "probes carry no credential",
    ("GET", "/healthz"): "the same, where HyreLog's clients look",
    ("GET", "/metrics"): "open in development; in production the token is asked for inside (C-37), see below",
    ("GET", "/api/v1/metrics"): "the same figures",
    ("GET", "/api/v1/queue/stats"): "open in development; otherwise asked for inside (C-37): tests/jobs/test_routes.py",
    ("POST", "/api/v1/auth/register"): "makes the credential",
    ("POST", "/api/v1/auth/login"): "gives the credential",
    ("POST", "/api/v1/auth/mfa/challenge"): "gives the credential for a challenge: tests/accounts/test_challenges.py",
    ("POST", "/api/v1/auth/refresh"): "the refresh token is asked for inside: tests/accounts/test_refreshing.py",
    ("POST", "/api/v1/auth/password/forgot"): "for whoever cannot sign in: tests/accounts/test_passwords.py",
    ("POST", "/api/v1/auth/password/reset"): "the token of the letter is asked for inside: the same",
    ("POST", "/api/v1/auth/email/confirm"): "the same: tests/accounts/test_emails.py",
    ("GET", "/api/v1/invites/accept"): "the token of the letter is asked for inside: tests/members/test_accepting.py",
    ("POST", "/api/v1/invites/accept"): "the same",
    ("GET", "/v1/pull/{pull_id}"): "the endpoint's own credential is asked for inside: tests/webhooks/test_pulling.py",
    ("POST", "/e/{event_key}"): "the key is in the path and asked for inside: tests/functions/test_events.py",
    ("POST", "/fn/register"): "the hashed signing key is asked for inside: tests/functions/test_serving.py",
    ("GET", "/"): "leads to the console",
    ("GET", "/console/sign-in"): "the form that gives the session",
    ("GET", "/console/outbox"): "who may see it is asked for inside: tests/accounts/test_outbox.py",
    ("POST", "/console/sign-in"): "gives the session; needs the token of the form, see tests/console",
    ("GET", "/console/sign-in/code"): "the form of a code",
    ("POST", "/console/sign-in/code"): "the same, for a challenge",
    **{
        (method, f"/console/{page}"): why
        for page, why in (
            ("register", "makes the credential; needs the token of the form"),
            ("forgot-password", "for whoever cannot sign in; the same"),
            ("reset-password", "the token of the letter is asked for inside, and that of the form"),
            ("confirm-email", "the same"),
            ("accept-invitation", "the same"),
        )
        for method in ("GET", "POST")
    },
    ("GET", "/console/static/{name}"): "what the sign-in page brings along, the same for everybody",
}
FAMILIES = (
    ("/v1/key/workspace", "workspace_key"),
    ("/v1/key/company", "company_key"),
    ("/internal", "operator"),
    ("/api/v1", "person"),
    ("/console", "session"),
)
OWN_PASSWORD = "correct horse battery staple"
EVENT = {"action": "user.signed_in", "actor": {"id": "u-1"}}
ENDPOINT = {"url": "http://127.0.0.1:9/hook", "events": ["never.sent"]}
STREAM = {"name": "s", "destination": {"type": "https", "url": "http://127.0.0.1:9/in"}}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/key/workspace/events"): EVENT,
    ("PATCH", "/v1/key/company/retention"): {"graceDays": 30},
    ("POST", "/internal/archive/runs"): {"step": "mark"},
    ("POST", "/v1/key/workspace/events/batch"): {"events": [EVENT]},
    **{
        (method, family + path): body
        for family in ("/api/v1/webhooks", "/v1/key/company/webhooks")
        for method, path, body in (
            ("POST", "", ENDPOINT),
            ("PATCH", "/{endpoint_id}", {"description": "changed"}),
            ("POST", "/{endpoint_id}/rotate-secret", {}),
            ("POST", "/{endpoint_id}/test", None),
            ("POST", "/{endpoint_id}/deliveries/{delivery_id}/replay", None),
            ("POST", "/filter-test", {"filter": {"type": "x"}, "example": {"type": "x"}}),
            ("POST", "/{endpoint_id}/replays", {"scope": "messages", "since": "2026-01-01T00:00:00Z", "dryRun": True}),
            ("POST", "/{endpoint_id}/replays/{replay_id}/cancel", None),
        )
    },
    **{
        (method, f"{family}/streams{path}"): body
        for family in ("/api/v1", "/v1/key/company")
        for method, path, body in (
            ("POST", "", STREAM),
            ("PATCH", "/{stream_id}", {"name": "changed"}),
            ("POST", "/{stream_id}/pause", None),
            ("POST", "/{stream_id}/resume", None),
            ("POST", "/{stream_id}/probe", None),
            ("POST", "/{stream_id}/backfill", {"since": "2026-01-01T00:00:00Z"}),
            ("POST", "/{stream_id}/skip", None),
            ("POST", "/{stream_id}/aside/send", {}),
            ("POST", "/{stream_id}/aside/forget", {}),
        )
    },
    **{
        ("PUT", f"{family}/event-types/{{type_name}}"): {"description": "changed"}
        for family in ("/api/v1", "/v1/key/company")
    },
}
ARCHIVED = """insert into mainstay.archive_days (workspace_id, company_id, day, data_region, first_seq, last_seq,
    archived_seq, flagged_seq, archived_at, sha256, bytes, verified_at, outcome)
  values ($1, $2, '2020-01-01', 'US', 1, 2, 2, 2, mainstay.now(), '', 1, mainstay.now(), 'sound')"""
SCHEDULED = """insert into mainstay.schedules (name, family, title, kind, queue, priority, max_attempts, payload, slots,
    missed, late_after, seen_at)
  values ('test.schedule', 'test', 't', 'test.kind', 'test:queue', 5, 1, 'null', 'every 60', 'latest', '60 s',
    mainstay.now()) on conflict do nothing"""
BELONGING = """
with person as (
  insert into mainstay.people (id, email, email_key, name, password_hash)
  values ($2, $2::uuid || '@example.com', $2::uuid || '@example.com', 'P', '')
  on conflict (id) do update set suspended_at = null
), member as (
  insert into mainstay.memberships (company_id, person_id, role) values ($1, $2, 'staff')
  on conflict (company_id, person_id) do update set suspended_at = null
), department as (
  insert into mainstay.departments (company_id, id, name, name_key) values ($1, $3, $3::uuid::text, $3::uuid::text)
  on conflict (company_id, id) do nothing
), joined as (
  insert into mainstay.department_members (company_id, department_id, person_id) values ($1, $3, $2)
  on conflict do nothing
)
insert into mainstay.invitations (company_id, id, email, email_key, role, invited_by, expires_at)
values ($1, $4, 'i@example.com', 'i@example.com', 'staff', '{"kind": "operator", "id": "o"}',
  mainstay.now() + interval '7 days')
on conflict (id) do update set withdrawn_at = null"""
STREAMS = {("GET", "/v1/key/workspace/events/tail"): "goes on until the client leaves: only its head is looked at"}
_COMPANY = "/internal/companies/{company_id}"
BODIES |= {
    ("POST", "/api/v1/company/thresholds"): {"kind": "soft", "unit": "absolute", "amount": 1},
    ("PATCH", "/api/v1/company/usage"): {"blocksAtLimit": False},
    ("PUT", _COMPANY + "/plan"): {"plan": "growth"},
    ("PUT", "/internal/queues/{queue}/concurrency"): {"concurrency": None},
    ("PUT", _COMPANY + "/limits/{limit}"): {"amount": 1_000_000},
    ("PUT", _COMPANY + "/add-ons/{code}"): None,
}
BODIES |= {
    ("PUT", path): {"allowance": 1_000_000, "reason": "r"}
    for path in ("/internal/limits/{policy}/figures", _COMPANY + "/rate-limits/{policy}")
} | {("PUT", "/internal/limits/{policy}"): {"mode": "off", "reason": "r"}}
BODIES |= {
    **{("POST", f"/api/v1/auth/mfa/{act}"): {"code": "123456"} for act in ("verify", "disable", "recovery-codes")},
    ("POST", "/api/v1/auth/mfa/setup"): None,
    ("PUT", "/api/v1/company/mfa"): {"required": False},
    ("POST", "/api/v1/members/{person_id}/mfa/reset"): None,
    ("POST", "/internal/people/{person_id}/mfa/reset"): None,
}
BODIES |= {
    ("POST", "/api/v1/auth/logout"): None,
    ("POST", "/api/v1/auth/logout-everywhere"): None,
    ("POST", "/api/v1/auth/step-up"): {"password": OWN_PASSWORD},
    ("POST", "/api/v1/auth/switch"): {"companyId": "{company_id}"},
    ("PATCH", "/api/v1/auth/me"): {"title": "changed"},
    ("POST", "/api/v1/auth/password"): {
        "currentPassword": OWN_PASSWORD, "newPassword": "another horse battery staple",
    },
    ("POST", "/api/v1/auth/email"): {"email": f"{secrets.token_hex(6)}@example.com"},
    ("POST", "/api/v1/auth/email/confirmation"): None,
}  # fmt: skip
BODIES |= {
    ("POST", "/internal/schedules/{schedule}/runs"): None,
    ("POST", "/api/v1/templates"): {"name": "t", "rules": {}},
    ("PATCH", "/api/v1/templates/{template_id}"): {"description": "changed"},
    ("PUT", "/api/v1/templates/{template_id}/assignments/{workspace_id}"): None,
    **{
        (method, f"{family}/schemas{path}"): body
        for family in ("/api/v1", "/v1/key/company", "/v1/key/workspace")
        for method, path, body in (
            ("POST", "", {"action": "never.sent", "schema": {}}),
            ("PATCH", "/{schema_id}", {"mode": "off"}),
        )
    },
}
BODIES |= {
    (method, f"/v1/key/{kind}/{act}"): body
    for kind in ("company", "workspace")
    for method, act, body in (
        ("POST", "create", {"name": "k"}),
        ("POST", "rotate", {"keyId": "{key_id}"}),
        ("POST", "revoke", {"keyId": "{key_id}"}),
    )
}
"""What stands in braces is an id of the side whose ids the path has."""
BODIES |= {
    ("POST", "/api/v1/keys"): {"name": "k"},
    ("PATCH", "/api/v1/keys/{key_id}"): {"name": "changed"},
    ("POST", "/api/v1/keys/{key_id}/rotate"): {},
    ("POST", "/api/v1/keys/{key_id}/revoke"): {},
    ("POST", "/internal/keys/leaked"): {"tokens": ["none"], "source": "s"},
}
BODIES |= {
    (method, family + path): body
    for family in ("/api/v1/company", "/v1/key/company")
    for method, path, body in (
        ("POST", "/erasures", {"actorId": "nobody-here", "reason": "asked"}),
        ("POST", "/erasures/{erasure_id}/resume", None),
        ("POST", "/holds", {"actorId": "somebody-held", "reason": "case 1"}),
        ("POST", "/holds/{hold_id}/lift", None),
    )
} | {
    ("POST", _COMPANY + "/holds"): {"actorId": "somebody-held", "reason": "case 1"},
    ("POST", _COMPANY + "/holds/{hold_id}/lift"): None,
    ("POST", "/v1/key/company/gdpr/export"): {"actorId": "nobody-here"},
}
BODIES |= {
    ("POST", f"/internal{path}"): body
    for path, body in (
        ("/queues/{queue}/jobs", {"kind": "route.kind"}),
        ("/queues/{queue}/pause", None),
        ("/queues/{queue}/resume", None),
        ("/queues/{queue}/redrive", {}),
        ("/queues/{queue}/clear", {"confirm": "nova:report"}),
        ("/queues/{queue}/cancel", {"filter": {"kind": "none"}}),
        ("/queues/{queue}/promote", {}),
        ("/kinds/{kind}/test-runs", {}),
        ("/kinds/{kind}/pause", None),
        ("/kinds/{kind}/resume", {}),
        ("/jobs/{job}/retry", None),
        ("/jobs/{job}/cancel", None),
        ("/jobs/{dead_job}/redrive", None),
        ("/jobs/{dead_job}/clear", None),
        ("/bulk-acts/{bulk_act}/cancel", None),
        ("/function-runs/{function_run_id}/cancel", None),
        ("/function-runs/{function_run_id}/rerun", None),
        ("/function-events", {"name": "nobody/listens"}),
    )
}
BODIES |= {
    ("POST", "/api/v1/invites"): {"email": "somebody@example.com", "role": "staff"},
    ("POST", "/api/v1/invites/{invitation_id}/resend"): None,
    ("POST", "/api/v1/members/{person_id}/role"): {"role": "staff", "dryRun": True},
    ("PUT", "/api/v1/members/{person_id}/features"): {"features": []},
    ("POST", "/api/v1/members/{person_id}/suspend"): None,
    ("POST", "/api/v1/members/{person_id}/restore"): None,
    ("POST", "/api/v1/departments"): {"name": "Support"},
    ("PATCH", "/api/v1/departments/{department_id}"): {"name": "Sales"},
    ("PUT", "/api/v1/departments/{department_id}/members/{person_id}"): None,
    ("PATCH", "/api/v1/company"): {"name": "Test company"},
    ("POST", "/api/v1/company/leave"): None,
    ("POST", "/internal/people/{person_id}/suspension"): None,
}
QUERIES = {
    ("GET", "/internal/people"): {"email": "nobody@example.com"},
    ("DELETE", "/internal/cache"): {"prefix": "cache:"},
}
LEAVER = "leaver"
ENDING = [f"/api/v1/auth/{act}" for act in ("logout", "logout-everywhere", "step-up", "switch", "password")]
"""What ends the session that asks, or all: for each somebody of its own."""
"""Whoever leaves the company is not there afterwards."""
BODIES |= {("PUT", "/internal/restriction"): {"reason": "a breach"}}
UNDONE = {("PUT", "/internal/restriction"): "closes the routes of all others"}
INTERNAL_TOKEN = "a-test-token-of-forty-characters-or-more-3"
GUARDS = (KeyGuard, May, OperatorGuard, PageMay)
ROLES: tuple[Role, ...] = ("owner", "manager", "staff")
PEOPLE: dict[str, tuple[Role, frozenset[str]]] = {
    **{role: (role, frozenset()) for role in ROLES},
    **{feature: ("staff", frozenset({feature})) for feature in FEATURES},
    **{f"-{feature}": ("staff", frozenset(FEATURES) - {feature}) for feature in FEATURES},
    "every": ("staff", frozenset(FEATURES)),
}


@dataclass(frozen=True)
class Route:
    """One row of the table."""

    method: str
    path: str
    kind: str | None
    act: Act | None = None
    parameters: tuple[str, ...] = ()
    operators_only: bool = False

    @property
    def roles(self) -> frozenset[Role]:
        """Who may call it whatever is assigned to them."""
        return frozenset() if self.act is None else self.act.roles

    @property
    def feature(self) -> Feature | None:
        """What lets staff call it too."""
        return None if self.act is None else self.act.feature

    @property
    def reads(self) -> bool:
        """Whether a key that may only read may call it."""
        return self.method in READING


def routes() -> list[Route]:
    """Every route of the application, in the framework and beside it."""
    front = main.build_api(test_settings("postgresql://nobody@127.0.0.1/none"))
    found = [Route(method, path, "workspace_key") for method, path in front._hot]
    for context in iter_route_contexts(front._app.routes):
        guards = _guards(context.dependant) if getattr(context, "dependant", None) else []
        assert len(guards) <= 1, f"{context.path} has two guards"
        guard = guards[0] if guards else None
        act = guard.act if isinstance(guard, May | PageMay) else None
        operators_only = isinstance(guard, PageMay) and guard.operators_only
        parameters = tuple(getattr(context, "param_convertors", None) or _parameters(context.path))
        for method in sorted((context.methods or set()) - {"HEAD"}):
            kind = guard.kind if guard else None
            found.append(Route(method, context.path, kind, act, parameters, operators_only))
    return list(dict.fromkeys(found))


def _guards(dependant: Dependant) -> list[Any]:
    own = [dependant.call] if isinstance(dependant.call, GUARDS) else []
    return own + [guard for inner in dependant.dependencies for guard in _guards(inner)]


def _parameters(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


def named(route: Route) -> str:
    """A route as a test's id."""
    return f"{route.method} {route.path}"


TABLE = routes()
GUARDED = [route for route in TABLE if route.kind is not None and route.kind != "session"]
"""Pages answer with pages: test_pages.py walks them."""
BY_KEY = [route for route in GUARDED if route.kind in ("workspace_key", "company_key")]
BY_PERSON = [route for route in GUARDED if route.kind == "person"]
# What the caller names itself is made where it is not there: only ids can be somebody else's.
NAMED_BY_CALLER = {("PUT", f"{family}/event-types/{{type_name}}") for family in ("/api/v1", "/v1/key/company")}
WITH_IDS = [route for route in GUARDED if route.parameters and (route.method, route.path) not in NAMED_BY_CALLER]

pytestmark = pytest.mark.asyncio(loop_scope="module")
each = pytest.mark.parametrize
Headers = dict[str, str]


@dataclass
class Side:
    """One company as the tests know it: its credentials, and one thing of each kind that has an id."""

    tenancy: Tenancy
    people: dict[str, Headers]
    """By role; staff with one feature alone by its name, with all but one by `-` and its name."""
    read_only: dict[str, Headers]
    db: Database
    store: str
    ids: dict[str, str] = field(default_factory=dict)
    event_of_sibling: str = ""
    schema_of_sibling: str = ""
    is_worn: bool = True
    """Whether something was done since it was furnished."""

    def credential(self, route: Route) -> Headers:
        """A credential that the route takes."""
        if route.kind == "workspace_key":
            return self.tenancy.auth
        if route.kind == "company_key":
            return self.tenancy.company_auth
        if route.kind == "operator":
            return {"x-internal-token": INTERNAL_TOKEN}
        if route.path in ENDING:
            return self.people[route.path]
        return self.people[LEAVER if route.path.endswith("/leave") else sorted(route.roles)[0]]


@dataclass
class World:
    """The running application and two companies that must not see each other."""

    api: httpx.AsyncClient
    db: Database
    ours: Side
    theirs: Side
    ended: dict[tuple[str, str], Headers]
    """By kind and state: keys of ours that open nothing, or nothing from here."""

    async def call(self, route: Route, headers: Headers, with_ids: dict[str, str] | None = None) -> httpx.Response:
        """The answer to a well-formed request."""
        path = route.path.format_map(with_ids or self.ours.ids)
        if (route.method, route.path) in STREAMS:
            async with open_tail(self.api, headers, path) as stream:
                if stream.status == 200:
                    return httpx.Response(200)
        body = BODIES.get((route.method, route.path))
        for name in ("keyId", "companyId"):
            if isinstance(body, dict) and name in body:
                body = {name: body[name].format_map(self.ours.ids | (with_ids or {}))}
        if route.path == "/api/v1/auth/switch":
            body = {**body, "refreshToken": refresh_beside(headers)}
        query = QUERIES.get((route.method, route.path))
        self.api.cookies.clear()
        answer = await self.api.request(route.method, path, headers=headers, json=body, params=query)
        if not route.reads and answer.status_code < 300:
            self.ours.is_worn = True
        if (route.method, route.path) in UNDONE and answer.status_code < 300:
            await self.api.delete(path, headers=headers)
        return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(server_url: str, template_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    url = await cut_database(server_url, template_url)
    db = Database(url, size=2)
    store = tmp_path_factory.mktemp("objects").as_uri()
    async with running_app(url, OBJECT_STORE=store) as api:
        ours, theirs = await _side(api, db, store), await _side(api, db, store)
        yield World(api, db, ours, theirs, await _ended_keys(db, ours.tenancy))
    await db.close()
    await drop_database(server_url, url)


async def _ended_keys(db: Database, tenancy: Tenancy) -> dict[tuple[str, str], Headers]:
    ended = {}
    async with db.begin() as tx:
        for kind, workspace_id in (("workspace", tenancy.workspace_id), ("company", None)):
            for state in ("revoked", "expired", "elsewhere"):
                allow_list = ["203.0.113.0/24"] if state == "elsewhere" else []
                key = await identity.issue_key(
                    tx, OPERATOR, tenancy.company_id, kind=kind, name="k", workspace_id=workspace_id,
                    allow_list=allow_list,
                )  # fmt: skip
                ended[f"{kind}_key", state] = {"x-api-key": key.secret}
                if state == "revoked":
                    await identity.revoke_key(tx, OPERATOR, tenancy.company_id, key.record.id)
                if state == "expired":
                    await tx.connection.execute(
                        "update mainstay.api_keys set expires_at = mainstay.now() where id = $1", key.record.id
                    )
    return ended


async def _side(api: httpx.AsyncClient, db: Database, store: str) -> Side:
    tenancy = await open_tenancy(db)
    people: dict[str, Headers] = {}
    passwords = identity.Passwords()
    password_hash = await passwords.hash(OWN_PASSWORD)
    passwords.close()
    async with db.begin() as tx:
        for who, (role, features) in (PEOPLE | {who: ("staff", frozenset()) for who in (LEAVER, *ENDING)}).items():
            person = await identity.add_person(
                tx, OPERATOR, tenancy.company_id, email=f"{secrets.token_hex(6)}@example.com", name="P",
                password_hash=password_hash, role=role,
            )  # fmt: skip
            people[who] = await bearer(tx, person.id, tenancy.company_id)
            await tx.connection.execute(
                "update mainstay.memberships set features = $1 where person_id = $2", sorted(features), person.id
            )
        reading = {
            "workspace_key": await identity.issue_key(
                tx, OPERATOR, tenancy.company_id, kind="workspace", name="r", workspace_id=tenancy.workspace_id,
                read_only=True,
            ),
            "company_key": await identity.issue_key(
                tx, OPERATOR, tenancy.company_id, kind="company", name="r", read_only=True
            ),
        }  # fmt: skip
    read_only = {kind: {"x-api-key": key.secret} for kind, key in reading.items()}
    side = Side(tenancy, people, read_only, db, store)
    async with db.begin() as tx:
        await tx.connection.execute(ARCHIVED, tenancy.workspace_id, tenancy.company_id)
        await tx.connection.execute(SCHEDULED)
    await _furnish(api, side)
    return side


async def _furnish(api: httpx.AsyncClient, side: Side) -> None:
    """The company has one of each thing that nothing was done to; every path parameter has its id here."""
    if not side.is_worn:
        return
    earlier = side.ids
    event = await api.post("/v1/key/workspace/events", json=EVENT, headers=side.tenancy.auth)
    sibling = await api.post("/v1/key/workspace/events", json=EVENT, headers={"x-api-key": side.tenancy.other_key})
    endpoint = await api.post("/v1/key/company/webhooks", json=ENDPOINT, headers=side.tenancy.company_auth)
    assert (event.status_code, sibling.status_code, endpoint.status_code) == (201, 201, 201)
    endpoint_id = endpoint.json()["id"]
    test = await api.post(f"/v1/key/company/webhooks/{endpoint_id}/test", headers=side.tenancy.company_auth)
    hooks, key = "/v1/key/company/webhooks", {"headers": side.tenancy.company_auth}
    pull = await api.post(hooks, json={"kind": "pull", "events": ["never.sent"]}, **key)
    wanted = {"scope": "messages", "since": "2026-01-01T00:00:00Z"}
    replay = await api.post(f"{hooks}/{endpoint_id}/replays", json=wanted, **key)
    type_name = f"t-{ids.new_id()}"
    await api.put(f"/v1/key/company/event-types/{type_name}", json={}, **key)
    wish = {"name": "k", "workspaceId": side.tenancy.workspace_id}
    spare = await api.post("/v1/key/company/create", json=wish, **key)
    owner, thresholds = {"headers": side.people["owner"]}, "/api/v1/company/thresholds"
    if "threshold_id" in side.ids:
        await api.delete(f"{thresholds}/{side.ids['threshold_id']}", **owner)
    threshold = await api.post(thresholds, json={"kind": "soft", "unit": "absolute", "amount": 1}, **owner)
    side.ids = {
        "company_id": side.tenancy.company_id,
        "archive_day": f"2020-01-01.{side.tenancy.workspace_id}",
        "limit": "exportRows",
        "code": "RETENTION_S3_ARCHIVE",
        "policy": "credit_charge",
        "schedule": "test.schedule",
        "threshold_id": threshold.json()["data"]["id"],
        "session_id": await _other_session(side),
        "event_id": event.json()["id"],
        "endpoint_id": endpoint_id,
        "delivery_id": test.json()["deliveryId"],
        "pull_id": pull.json()["id"],
        "replay_id": replay.json()["id"],
        "key_id": spare.json()["id"],
        "type_name": type_name,
    }
    side.event_of_sibling = sibling.json()["id"]
    side.ids |= {"workspace_id": side.tenancy.workspace_id, **await _rules(api, side, earlier)}
    side.ids["stream_id"] = await _stream(api, side, earlier.get("stream_id", ids.new_id()))
    side.ids |= await _erasure(api, side, earlier)
    side.ids |= await _jobs(side)
    side.ids |= await _belonging(side, earlier)
    side.ids["function_run_id"] = await _function_run(side)
    side.is_worn = False


async def _belonging(side: Side, earlier: dict[str, str]) -> dict[str, str]:
    """Somebody of the staff in a department, and an open invitation, whatever routes did to them."""
    found = {name: earlier.get(name, ids.new_id()) for name in ("person_id", "department_id", "invitation_id")}
    async with side.db.begin() as tx:
        await tx.connection.execute(BELONGING, side.tenancy.company_id, *found.values())
    return found


async def _other_session(side: Side) -> str:
    """One more session of the person who may end one."""
    async with side.db.begin() as tx:
        person_id = await tx.connection.fetchval(
            """select m.person_id from mainstay.memberships m where m.company_id = $1 and m.role = 'manager'
               and m.features = '{}' order by m.person_id limit 1""",
            side.tenancy.company_id,
        )
        return await open_session(tx, str(person_id), side.tenancy.company_id)


async def _function_run(side: Side) -> str:
    """A run that has not ended."""
    async with side.db.begin() as tx:
        row = await tx.connection.fetchrow(
            """insert into mainstay.function_runs (id, function_id, event_name, input) values
               (gen_random_uuid(), 'route.f', 'e', '[{"name": "e", "data": {}, "user": {}, "id": "i", "ts": 1}]')
               returning id"""
        )
    return str(row["id"])


async def _jobs(side: Side) -> dict[str, str]:
    """A public kind of a queue, a job of it that waits for its time, one that died, a run by hand, and a bulk act."""
    async with side.db.begin() as tx:
        row = await tx.connection.fetchrow(
            """with kind as (
                 insert into mainstay.job_kinds (kind, queue, priority, max_attempts, is_public, seen_at)
                 values ('route.kind', 'nova:report', 5, 3, true, mainstay.now()) on conflict do nothing
               ), job as (
                 insert into mainstay.jobs (queue, kind, state, due_at, payload)
                 values ('nova:report', 'route.kind', 'delayed', mainstay.now() + interval '1 hour', '1') returning id
               ), dead as (
                 insert into mainstay.dead_jobs (id, queue, kind, lane, trace_id, enqueued_at, epoch, priority, attempt,
                                                 max_attempts, reason, error, payload)
                 values (nextval('mainstay.jobs_id_seq'), 'nova:report', 'route.kind', '', '', mainstay.now(), 1, 5, 1,
                         1, 'failed', 'e', '1') returning id
               ), run as (
                 insert into mainstay.test_runs (job_id, kind, asked_by) select id, 'route.kind', '{}' from job
               )
               insert into mainstay.bulk_acts (id, counted, is_floor, act, queue, state, filter, asked_by)
               select gen_random_uuid(), 1, false, 'redrive', 'nova:report', 'waiting', '{}', '{}' returning id,
                 (select id from job) as job, (select id from dead) as dead"""
        )
    job, dead, act = (str(row[name]) for name in ("job", "dead", "id"))
    return {
        "queue": "nova:report", "kind": "route.kind", "job": job, "dead_job": dead, "test_run": job, "bulk_act": act,
    }  # fmt: skip


async def _erasure(api: httpx.AsyncClient, side: Side, earlier: dict[str, str]) -> dict[str, str]:
    """An erasure that failed, a hold on somebody, and a job with a file; others that routes made have ended."""
    found = {name: earlier[name] for name in ("erasure_id", "hold_id", "job_id") if name in earlier}
    if not found:
        for name, path in (("erasure_id", "erasures"), ("hold_id", "holds"), ("job_id", "gdpr/export")):
            wanted = BODIES["POST", f"/v1/key/company/{path}"]
            made = await api.post(f"/v1/key/company/{path}", json=wanted, headers=side.tenancy.company_auth)
            found[name] = made.json()["id"]
        file = f"gdpr/{side.tenancy.company_id}/{found['job_id']}/1.ndjson.gz"
        await Objects.open(side.store).put(file, b"packed")
    async with side.db.begin() as tx:
        await tx.connection.execute(
            """update mainstay.erasures set state = case when id = $2 then 'failed' else 'completed' end
                where company_id = $1""",
            side.tenancy.company_id,
            found["erasure_id"],
        )
        await tx.connection.execute(
            "update mainstay.company_jobs set status = 'completed', run = 1 where company_id = $1",
            side.tenancy.company_id,
        )
    found["export_id"] = found["job_id"]
    return found


async def _rules(api: httpx.AsyncClient, side: Side, earlier: dict[str, str]) -> dict[str, str]:
    """A template, and the schema of an action of the first workspace; those of routes that were called are gone."""
    owner = {"headers": side.people["owner"]}
    for path in ("templates", "schemas"):
        for one in (await api.get(f"/api/v1/{path}", **owner)).json()["data"]:
            if one["id"] not in (earlier.get("template_id"), earlier.get("schema_id")):
                await api.delete(f"/api/v1/{path}/{one['id']}", **owner)
    found = {}
    for name, path, wanted in (
        ("template_id", "templates", {"name": f"t-{ids.new_id()}", "rules": {}}),
        ("schema_id", "schemas", {"action": "told.once", "schema": {}, "workspaceId": side.tenancy.workspace_id}),
    ):
        known = await api.get(f"/api/v1/{path}/{earlier.get(name, ids.new_id())}", **owner)
        answer = known if known.status_code == 200 else await api.post(f"/api/v1/{path}", json=wanted, **owner)
        found[name] = answer.json()["id"]
    wanted = {"action": "told.once", "schema": {}}
    made = await api.post("/v1/key/workspace/schemas", json=wanted, headers={"x-api-key": side.tenancy.other_key})
    side.schema_of_sibling = made.json()["id"]
    return found


async def _stream(api: httpx.AsyncClient, side: Side, earlier: str) -> str:
    """The stream that is there, without a backfill, or a new one where it was deleted: there may be ten."""
    path, headers = "/v1/key/company/streams", side.tenancy.company_auth
    ended = await api.delete(f"{path}/{earlier}/backfill", headers=headers)
    if ended.status_code == 200:
        return earlier
    made = await api.post(path, json=STREAM, headers=headers)
    assert made.status_code == 201
    return str(made.json()["id"])


def assert_refused(answer: httpx.Response, status: int) -> None:
    """The refusal has that status and is a problem with all its members."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["type"].startswith(("urn:mainstay:problem:", "https://"))
    assert problem["title"]
    assert problem["detail"]
    assert problem["requestId"] == answer.headers["x-request-id"]
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_table_holds_the_whole_application() -> None:
    assert len(GUARDED) >= 20
    assert {(route.method, route.path) for route in TABLE if route.kind is None} == set(PUBLIC)


async def test_each_route_takes_the_credential_of_its_family() -> None:
    families = {route: next(kind for prefix, kind in FAMILIES if route.path.startswith(prefix)) for route in GUARDED}
    assert [named(route) for route, family in families.items() if route.kind != family] == []


async def test_each_writing_route_has_its_body_described_here() -> None:
    writing = [route for route in GUARDED if not route.reads and route.method != "DELETE"]
    assert [named(route) for route in writing if (route.method, route.path) not in BODIES] == []


async def test_every_id_in_a_path_is_described_here(world: World) -> None:
    assert [named(route) for route in WITH_IDS if not set(route.parameters) <= set(world.theirs.ids)] == []


@each("route", GUARDED, ids=named)
async def test_the_right_caller_is_let_in(route: Route, world: World) -> None:
    """Without this, the refusals below could be refusals of everybody."""
    await _furnish(world.api, world.ours)
    if route.path.startswith(factors.PATHS):
        BODIES[route.method, route.path] = await factors.ready_for(world.db, route.path, world.ours.ids)
    answer = await world.call(route, world.ours.credential(route))
    assert answer.status_code < 300, answer.text


FALSE: tuple[Headers, ...] = (
    {},
    {"authorization": "Bearer "},
    {"authorization": "Bearer garbage", "x-internal-token": "garbage"},
    {"authorization": "Bearer mk_ws_" + "x" * 43},
    {"authorization": "Basic dTpw"},
)


@each("route", GUARDED, ids=named)
async def test_without_a_credential_or_with_a_false_one_401(route: Route, world: World) -> None:
    for headers in FALSE:
        assert_refused(await world.call(route, headers), 401)


@each("route", GUARDED, ids=named)
async def test_with_a_credential_of_another_kind_401_or_403(route: Route, world: World) -> None:
    ours = world.ours
    kinds = {
        "workspace_key": ours.tenancy.auth,
        "company_key": ours.tenancy.company_auth,
        "person": ours.people["owner"],
        "operator": {"x-internal-token": INTERNAL_TOKEN},
    }
    for kind, headers in kinds.items():
        if kind != route.kind:
            both_keys = kind.endswith("_key") and str(route.kind).endswith("_key")
            assert_refused(await world.call(route, headers), 403 if both_keys else 401)


@each("route", [route for route in BY_KEY if not route.reads], ids=named)
async def test_writing_with_a_key_that_may_only_read_403(route: Route, world: World) -> None:
    assert_refused(await world.call(route, world.ours.read_only[str(route.kind)]), 403)


@each("route", [route for route in BY_KEY if route.reads], ids=named)
async def test_reading_with_a_key_that_may_only_read(route: Route, world: World) -> None:
    await _furnish(world.api, world.ours)
    answer = await world.call(route, world.ours.read_only[str(route.kind)])
    assert answer.status_code == 200, answer.text


@pytest.mark.contract("NP-A-02", "DR-A-06")
@each("route", BY_PERSON, ids=named)
async def test_each_person_gets_as_far_as_their_role_and_features_go(route: Route, world: World) -> None:
    assert route.act is not None
    feature = route.feature
    for who in ("owner", "manager", "staff", *((feature, f"-{feature}") if feature else ("every",))):
        role, features = PEOPLE[who]
        if role in route.roles or feature in features:
            await _assert_let_in(route, world, who)
        else:
            assert_refused(await world.call(route, world.ours.people[who]), 403)


async def _assert_let_in(route: Route, world: World, who: str) -> None:
    """The guard lets them pass; nothing is done, for they name nothing that is there, or send no whole body."""
    headers = world.ours.people[who]
    if route.reads or route.parameters:
        answer = await world.call(route, headers, dict.fromkeys(route.parameters, ids.new_id()))
    elif BODIES.get((route.method, route.path)) is None:
        return
    else:
        answer = await world.api.request(route.method, route.path, headers=headers, content=b"{")
    assert answer.status_code not in (401, 403), (who, answer.text)


@each("route", BY_KEY, ids=named)
async def test_with_a_key_that_ended_401_and_from_elsewhere_403(route: Route, world: World) -> None:
    for state, status in (("revoked", 401), ("expired", 401), ("elsewhere", 403)):
        assert_refused(await world.call(route, world.ended[str(route.kind), state]), status)


# Operators act for every company.
@pytest.mark.contract("NP-A-09")
@each("route", [route for route in WITH_IDS if route.kind != "operator"], ids=named)
async def test_with_ids_of_another_company_404_and_nothing_happens(route: Route, world: World) -> None:
    await _furnish(world.api, world.ours)
    before = await _standing(world)
    for mixture in product((world.ours.ids, world.theirs.ids), repeat=len(route.parameters)):
        if all(side is world.ours.ids for side in mixture):
            continue
        given = {name: side[name] for name, side in zip(route.parameters, mixture, strict=True)}
        assert_refused(await world.call(route, world.ours.credential(route), given), 404)
    assert await _standing(world) == before


@pytest.mark.contract("NP-A-09")
@each("route", [route for route in GUARDED if route.reads and route.kind != "operator"], ids=named)
async def test_reading_shows_nothing_of_another_company(route: Route, world: World) -> None:
    """Both companies have something of each kind, and each is shown its own."""
    answer = await world.call(route, world.theirs.credential(route), world.theirs.ids)
    assert answer.status_code == 200, answer.text
    assert [name for name, value in world.ours.ids.items() if ids.is_uuid(value) and value in answer.text] == []


@each("route", WITH_IDS, ids=named)
async def test_with_ids_of_nothing_404(route: Route, world: World) -> None:
    for value in ("00000000-0000-7000-8000-00000000dead", "no-uuid", "%00", "'"):
        given = dict.fromkeys(route.parameters, value)
        assert_refused(await world.call(route, world.ours.credential(route), given), 404)


@each("route", [route for route in WITH_IDS if route.kind == "workspace_key"], ids=named)
async def test_with_ids_of_another_workspace_404(route: Route, world: World) -> None:
    given = {"event_id": world.ours.event_of_sibling, "schema_id": world.ours.schema_of_sibling}
    assert set(route.parameters) <= set(given)
    assert_refused(await world.call(route, world.ours.credential(route), given), 404)


async def test_an_unknown_path_is_a_problem_too(world: World) -> None:
    assert_refused(await world.api.get(f"/{ids.new_id()}"), 404)
    refused = await world.api.delete("/v1/key/workspace")
    assert_refused(refused, 405)
    assert refused.headers["allow"] == "GET"


@each("path", ["/metrics", "/api/v1/metrics"])
async def test_metrics_ask_for_the_token_in_production(path: str, server_url: str, template_url: str) -> None:
    url = await cut_database(server_url, template_url)
    async with running_app(url, PROFILE="production") as api:
        assert_refused(await api.get(path), 401)
        assert_refused(await api.get(path, headers={"x-internal-token": "wrong"}), 401)
        assert (await api.get(path, headers={"x-internal-token": INTERNAL_TOKEN})).status_code == 200
    await drop_database(server_url, url)


async def _standing(world: World) -> list[Any]:
    """Everything of the other company that a route could change."""
    async with world.db.begin(readonly=True) as tx:
        rows = await tx.connection.fetch(
            """select to_jsonb(e)::text from mainstay.endpoints e where company_id = $1
               union all select to_jsonb(d)::text from mainstay.deliveries d where company_id = $1
               union all select to_jsonb(r)::text from mainstay.replays r where company_id = $1
               union all select to_jsonb(t)::text from mainstay.event_types t where company_id = $1
               union all select to_jsonb(s)::text from mainstay.streams s where company_id = $1
               union all select to_jsonb(h)::text from mainstay.chain_heads h where company_id = $1
               union all select to_jsonb(a)::text from mainstay.thresholds a where company_id = $1
               union all select to_jsonb(m)::text from mainstay.memberships m where company_id = $1
               union all select to_jsonb(i)::text from mainstay.invitations i where company_id = $1
               union all select to_jsonb(d)::text from mainstay.departments d where company_id = $1
               union all select to_jsonb(d)::text from mainstay.department_members d where company_id = $1
               order by 1""",
            world.theirs.tenancy.company_id,
        )
    return [row[0] for row in rows]
