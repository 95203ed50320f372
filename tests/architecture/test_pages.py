"""Every page of the console against everybody who may not open it; a new page is covered by what its guard says."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import product

import httpx
import pytest
import pytest_asyncio

from mainstay import identity
from mainstay.kernel.db import Database
from mainstay.web.roles import FEATURES
from tests.architecture.test_routes import OPERATOR, ROLES, TABLE, Route, Side, _furnish, _side, _standing, named
from tests.conftest import cut_database, drop_database, running_app
from tests.console.site import PASSWORD, csrf_of, sign_in

PAGES = [route for route in TABLE if route.kind == "session"]
WRITING = [route for route in PAGES if not route.reads]
ENDLESS = "/console/live/"
FILES = ("/console/events/export.", "/console/archive/export.", "/console/erasures/exports/")
"""What a page gives to be kept as a file, told in tests/console."""
OF_NO_COMPANY = {"rest", "queue", "job", "kind", "bulk_act", "schedule", "function_id", "function_run_id"}
"""Path parameters that name nothing of a company."""
OF_A_COMPANY = [route for route in PAGES if set(route.parameters) - OF_NO_COMPANY]
FIELDS: dict[str, str] = {}

pytestmark = pytest.mark.asyncio(loop_scope="module")
each = pytest.mark.parametrize


@dataclass
class World:
    """The application, two companies, and a browser profile for each role of ours; one more person operates."""

    api: httpx.AsyncClient
    db: Database
    ours: Side
    theirs: Side
    profiles: dict[str, httpx.AsyncClient]
    tokens: dict[str, str]

    async def open(
        self, route: Route, who: str, ids: dict[str, str] | None = None, *, token: str | None = None
    ) -> httpx.Response:
        """The answer to that person; a form carries their token, unless another is given."""
        own = {"rest": "nowhere", "function_id": "route.f", **self.ours.ids}
        everybodys = {name: own[name] for name in OF_NO_COMPANY}
        path = route.path.replace(":path", "").format_map({**(ids or self.ours.ids), **everybodys})
        if route.reads:
            return await self.profiles[who].get(path)
        given = self.tokens.get(who, "") if token is None else token
        return await self.profiles[who].request(route.method, path, data={**FIELDS, "csrf": given})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(server_url: str, template_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    url = await cut_database(server_url, template_url)
    db = Database(url, size=2)
    operator = f"{secrets.token_hex(6)}@example.com"
    store = tmp_path_factory.mktemp("objects").as_uri()
    async with running_app(url, CONSOLE_OPERATORS=operator, OBJECT_STORE=store) as api:
        ours, theirs = await _side(api, db, store), await _side(api, db, store)
        emails = {role: f"{secrets.token_hex(6)}@example.com" for role in ROLES} | {"operator": operator}
        passwords = identity.Passwords(memory_kib=19 * 1024, passes=2)
        password_hash = await passwords.hash(PASSWORD)
        passwords.close()
        async with db.begin() as tx:
            for who, email in emails.items():
                await identity.add_person(
                    tx, OPERATOR, ours.tenancy.company_id, email=email, name=who, password_hash=password_hash,
                    role="staff" if who == "operator" else who,  # type: ignore[arg-type]
                )  # fmt: skip
        profiles = {"nobody": _profile(api), "liar": _profile(api), "key": _profile(api)}
        profiles["liar"].cookies.set("mainstay_session", "ms_" + "x" * 43)
        profiles["key"].headers.update(ours.people["owner"])
        tokens = {}
        for who, email in emails.items():
            profiles[who] = _profile(api)
            assert (await sign_in(profiles[who], email)).status_code == 303
            tokens[who] = csrf_of((await profiles[who].get("/console")).text)
        yield World(api, db, ours, theirs, profiles, tokens)
        for profile in profiles.values():
            await profile.aclose()
    await db.close()
    await drop_database(server_url, url)


def _profile(api: httpx.AsyncClient) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=api._transport, base_url="http://test")


def _who(route: Route) -> str:
    return "operator" if route.operators_only else sorted(route.roles)[0]


def assert_page(answer: httpx.Response, status: int) -> None:
    """The answer is a page of that status, under the policy of pages."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert answer.headers["cache-control"] == "no-store"


async def test_every_page_is_under_the_console() -> None:
    assert [named(page) for page in PAGES if page.path != "/console" and not page.path.startswith("/console/")] == []
    assert [named(page) for page in PAGES if not page.roles] == []


@each("route", PAGES, ids=named)
async def test_without_a_session_on_to_sign_in(route: Route, world: World) -> None:
    before = await _standing(world)  # type: ignore[arg-type]
    for who in ("nobody", "liar", "key"):
        answer = await world.open(route, who, token=world.tokens["owner"])
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/console/sign-in?next=%2Fconsole")
    assert await _standing(world) == before  # type: ignore[arg-type]


@each("route", PAGES, ids=named)
async def test_with_a_role_that_does_not_suffice_403(route: Route, world: World) -> None:
    for role in set(ROLES) - route.roles if not route.operators_only else ROLES:
        assert_page(await world.open(route, role), 403)


@each("route", [route for route in PAGES if route.feature and not route.path.startswith((ENDLESS, *FILES))], ids=named)
async def test_staff_get_in_with_the_feature_assigned_and_with_all_others_they_do_not(
    route: Route, world: World
) -> None:
    for features, status in (({route.feature}, 200), (set(FEATURES) - {route.feature}, 403)):
        async with world.db.begin() as tx:
            await tx.connection.execute(
                "update mainstay.memberships set features = $1 where company_id = $2 and role = 'staff'",
                sorted(str(one) for one in features),
                world.ours.tenancy.company_id,
            )
        answer = await world.open(route, "staff")
        if route.reads or status == 403:
            assert_page(answer, status)
        else:
            assert answer.status_code in (303, 400, 404), "the form names nothing that is there"


@each("route", WRITING, ids=named)
async def test_without_the_token_403(route: Route, world: World) -> None:
    for token in ("", "x", world.tokens["operator" if _who(route) != "operator" else "owner"]):
        answer = await world.open(route, _who(route), token=token)
        assert_page(answer, 403)
        assert "Nothing was changed" in answer.text


@each("route", OF_A_COMPANY, ids=named)
async def test_with_ids_of_another_company_404_and_nothing_happens(route: Route, world: World) -> None:
    await _furnish(world.api, world.ours)
    names = [name for name in route.parameters if name not in OF_NO_COMPANY]
    before = await _standing(world)  # type: ignore[arg-type]
    for mixture in product((world.ours.ids, world.theirs.ids), repeat=len(names)):
        if any(side is world.theirs.ids for side in mixture):
            given = {name: side[name] for name, side in zip(names, mixture, strict=True)}
            assert_page(await world.open(route, _who(route), given), 404)
    for value in ("00000000-0000-7000-8000-00000000dead", "no-uuid", "%00", "'"):
        assert_page(await world.open(route, _who(route), dict.fromkeys(names, value)), 404)
    assert await _standing(world) == before  # type: ignore[arg-type]


@each("route", [route for route in PAGES if route.reads and not route.path.startswith((ENDLESS, *FILES))], ids=named)
async def test_the_right_person_is_let_in(route: Route, world: World) -> None:
    """Without this, the refusals above could be refusals of everybody."""
    await _furnish(world.api, world.ours)
    assert_page(await world.open(route, _who(route)), 404 if "rest" in route.parameters else 200)


async def test_signing_out_ends_the_session_and_that_of_others_goes_on(world: World) -> None:
    (route,) = [one for one in WRITING if one.path == "/console/sign-out"]
    assert (await world.open(route, "staff")).headers["location"] == "/console/sign-in"
    assert (await world.profiles["staff"].get("/console")).status_code == 303
    assert (await world.profiles["manager"].get("/console")).status_code == 200
