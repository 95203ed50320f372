"""Pages of a company's people, keys and limits as plain requests meet them: who may, what is refused, what is shown."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from mainstay.console import keys_form
from mainstay.kernel.db import Database, Sql
from mainstay.web.scopes import SCOPES
from tests.conftest import cut_database, drop_database, running_app
from tests.console.audit import Console
from tests.console.site import csrf_of, people_of, sign_in
from tests.tenancy import open_tenancy

MEMBERS, INVITES, DEPARTMENTS = "/console/members", "/console/members/invitations", "/console/departments"
KEYS, COMPANY, LIMITS, ALL = "/console/keys", "/console/company", "/console/limits", "/console/all-limits"
CLOSED = "/console/restriction"
_SECRET = re.compile(r"mk_(?:co|ws)_[\w-]{20,}")
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(server_url: str, template_url: str) -> AsyncIterator[tuple[Console, Database, dict[str, str]]]:
    """The application in this process, whose owner operates the service, and the ids of its people by role."""
    url = await cut_database(server_url, template_url)
    db = Database(url, size=2)
    tenancy = await open_tenancy(db)
    emails = await people_of(db, tenancy.company_id)
    async with running_app(url, CONSOLE_OPERATORS=emails["owner"]) as app:
        profiles, tokens, ids = {}, {}, {}
        for role, email in emails.items():
            profiles[role] = httpx.AsyncClient(transport=app._transport, base_url="http://test")
            await sign_in(profiles[role], email)
            tokens[role] = csrf_of((await profiles[role].get("/console")).text)
            ids[role] = str(await db.value(Sql("t", "select id from mainstay.people where email = $1"), email))
        yield Console(app, tenancy, profiles, tokens), db, ids
    await db.close()
    await drop_database(server_url, url)


@pytest_asyncio.fixture(loop_scope="module")
async def console(service: tuple[Console, Database, dict[str, str]]) -> Console:
    return service[0]


@pytest_asyncio.fixture(loop_scope="module")
async def db(service: tuple[Console, Database, dict[str, str]]) -> Database:
    return service[1]


@pytest_asyncio.fixture(loop_scope="module")
async def ids(service: tuple[Console, Database, dict[str, str]]) -> dict[str, str]:
    return service[2]


async def send(console: Console, path: str, who: str = "owner", /, **fields: Any) -> httpx.Response:
    """The answer to a form, whose fields may have any name."""
    return await console.profiles[who].post(path, data={"csrf": console.tokens[who], **fields})


async def value(db: Database, statement: str, *given: Any) -> Any:
    return await db.value(Sql("t", statement), *given)


async def age(db: Database, by: str) -> None:
    """What everybody proved is so much older."""
    sql = """update mainstay.sessions set authenticated_at = authenticated_at - $1::text::interval,
             strong_at = strong_at - $1::text::interval returning 1"""
    await value(db, sql, by)


def wrong(answer: httpx.Response, field: str, words: str, status: int = 400) -> None:
    """The field is told what is wrong with it."""
    assert answer.status_code == status
    found = re.search(rf'id="hint-{field}">([^<]*)<', answer.text)
    assert found is not None
    assert words in found.group(1)
    assert re.search(rf'id="field-{field}"[^>]*aria-invalid="true"', answer.text)


def leads_to(answer: httpx.Response) -> str:
    assert answer.status_code == 303
    return answer.headers["location"]


async def test_an_invitation_is_refused_at_its_field_and_what_was_typed_stays(console: Console, db: Database) -> None:
    fields: dict[str, Any] = {"email": "no address", "role": "staff", "features": ["events", "everything"]}
    answer = await send(console, INVITES, **fields)
    wrong(answer, "email", "")
    assert 'value="no address"' in answer.text
    assert re.search(r'value="events" checked', answer.text)
    wrong(await send(console, INVITES, email="new.guest@mail.test", role="king"), "role", "Choose one of the roles")
    wrong(
        await send(console, INVITES, "manager", email="new.guest@mail.test", role="owner"), "role", "Only an owner", 403
    )
    assert '<option value="owner"' not in (await console.get(f"{INVITES}/new", "manager")).text
    assert (await send(console, INVITES, "staff", email="new.guest@mail.test", role="staff")).status_code == 403
    assert await value(db, "select count(*) from mainstay.invitations") == 0
    page = leads_to(await send(console, INVITES, email="new.guest@mail.test", role="staff", features="events"))
    (known,) = re.findall(r"owner-\w+@example\.com", (await console.get(f"{MEMBERS}?show=owner")).text)[:1]
    wrong(await send(console, INVITES, email=known, role="staff"), "email", "member of the company already", 409)
    shown = (await console.get(page)).text
    assert "new.guest@mail.test" in shown
    assert "token=" not in shown
    assert leads_to(await send(console, f"{page}/resend")) == page
    assert leads_to(await send(console, f"{page}/withdraw")) == page
    assert (await send(console, f"{page}/resend")).status_code == 409
    assert "new.guest@mail.test" in (await console.get(f"{INVITES}?state=withdrawn")).text
    assert "new.guest@mail.test" not in (await console.get(f"{INVITES}?state=open")).text


async def test_a_role_is_tried_before_it_is_given(console: Console, db: Database, ids: dict[str, str]) -> None:
    role = "select role || array_length(features, 1)::text from mainstay.memberships where person_id = $1::text::uuid"
    staff = f"{MEMBERS}/{ids['staff']}"
    before = await value(db, role, ids["staff"])
    tried = await console.get(f"{staff}/role?role=staff&features=events")
    assert "see endpoints and deliveries" in tried.text.partition(">Loses<")[2]
    assert await value(db, role, ids["staff"]) == before
    assert (await console.get(f"{staff}/role?role=king")).status_code == 400
    refused = await console.get(f"{MEMBERS}/{ids['owner']}/role?role=staff", "manager")
    assert "Only an owner makes owners and changes owners" in refused.text
    assert 'method="post" action="/console/members' not in refused.text
    answer = await send(console, f"{MEMBERS}/{ids['owner']}/role", "manager", role="staff")
    assert answer.status_code == 403
    assert leads_to(await send(console, f"{staff}/role", role="staff", features="members")) == staff
    assert await value(db, role, ids["staff"]) == "staff1"
    listed = await console.get(MEMBERS, "staff")
    assert listed.status_code == 200
    assert f"{INVITES}/new" not in listed.text
    assert "/remove" not in (await console.get(staff, "staff")).text


async def test_the_last_owner_is_told_why_not(console: Console, db: Database, ids: dict[str, str]) -> None:
    own = (await console.get(f"{MEMBERS}/{ids['owner']}")).text
    assert "You are the last owner who can act" in own
    assert f"{MEMBERS}/leave" not in own
    assert (await send(console, f"{MEMBERS}/leave", confirm="Other")).status_code == 400
    refused = await send(console, f"{MEMBERS}/leave", confirm="Test company")
    assert (refused.status_code, "make somebody else an owner first" in refused.text) == (409, True)
    wanted = await send(console, f"{MEMBERS}/{ids['staff']}/remove", confirm="staff")
    assert wanted.status_code == 400
    assert (
        await value(db, "select count(*) from mainstay.memberships where person_id = any($1)", list(ids.values())) == 3
    )


async def test_members_are_filtered_and_paged(console: Console, ids: dict[str, str], monkeypatch: Any) -> None:
    def people(html: str) -> list[str]:
        return re.findall(rf'row-link" href="{MEMBERS}/([\w-]+)"', html)

    assert people((await console.get(f"{MEMBERS}?show=manager")).text) == [ids["manager"]]
    assert len(people((await console.get(f"{MEMBERS}?show=no-factor")).text)) == 3
    assert people((await console.get(f"{MEMBERS}?search=Staff")).text) == [ids["staff"]]
    assert "Nobody like that" in (await console.get(f"{MEMBERS}?search=%25")).text
    assert (await console.get(f"{MEMBERS}?search={'x' * 101}")).status_code == 400
    assert (await console.get(f"{MEMBERS}?after=forged")).status_code == 400
    for module in ("members", "people_words"):
        monkeypatch.setattr(f"mainstay.console.{module}.SHOWN", 2)
    first = (await console.get(MEMBERS)).text
    (following,) = re.findall(rf'rel="next" href="({MEMBERS}\?after=[^"]+)"', first)
    assert len(people(first)) == 2
    assert len(people((await console.get(following)).text)) == 1


async def test_departments_open_fill_and_close(console: Console, db: Database, ids: dict[str, str]) -> None:
    here = leads_to(await send(console, DEPARTMENTS, name="Support"))
    wrong(await send(console, DEPARTMENTS, name="SUPPORT"), "name", "of this name already", 409)
    wrong(await send(console, DEPARTMENTS, name=" "), "name", "")
    other = leads_to(await send(console, DEPARTMENTS, name="Sales"))
    wrong(await send(console, f"{other}/name", name="x", renamed="support"), "renamed", "of this name already", 409)
    wrong(await send(console, f"{here}/join", email="nobody@example.com"), "email", "No member of the company")
    email = str(await value(db, "select email from mainstay.people where id = $1::text::uuid", ids["staff"]))
    assert leads_to(await send(console, f"{here}/join", email=email.upper())) == here
    assert email in (await console.get(here)).text
    assert (await send(console, f"{here}/leave", person=ids["owner"])).status_code == 303
    assert leads_to(await send(console, f"{here}/leave", person=ids["staff"])) == here
    assert "Nobody is in it yet" in (await console.get(here)).text
    assert (await send(console, f"{here}/close", "staff")).status_code == 403
    assert leads_to(await send(console, f"{here}/close")) == DEPARTMENTS
    assert (await console.get(here)).status_code == 404


async def test_a_key_is_narrowed_shown_once_and_rotated(console: Console, db: Database) -> None:
    workspace = console.tenancy.workspace_id
    bad = {"name": "Job", "rights": "some", "allowList": "10.0.0.0/8\nnowhere", "expiresAt": "soon"}
    answer = await send(console, KEYS, **bad)
    wrong(answer, "expiresAt", "Must be a day")
    wrong(answer, "rights", "Choose one or more")
    answer = await send(console, KEYS, **{**bad, "rights": "all", "expiresAt": ""})
    wrong(answer, "allowList", "nowhere: must be an IP address")
    assert ">10.0.0.0/8\nnowhere</textarea>" in answer.text
    wrong(await send(console, KEYS, name="", rights="all"), "name", "")
    wrong(await send(console, KEYS, name="Job", workspaceId=console.tenancy.company_id), "workspaceId", "Choose one")
    assert (await send(console, KEYS, "staff", name="Job")).status_code == 403
    assert _SECRET.search(answer.text) is None
    made = await send(console, KEYS, name="Job", workspaceId=workspace, rights="some", scopes="events.write")
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    secret = _SECRET.findall(made.text)[0]
    (here,) = re.findall(rf'href="({KEYS}/[\w-]{{36}})"', made.text)
    shown = await console.get(here)
    assert secret not in shown.text
    assert "never used" in shown.text
    assert "events.write" in shown.text
    assert (await send(console, f"{here}/revoke", confirm="Jobs")).status_code == 400
    rotated = await send(console, f"{here}/rotate", overlap="day")
    successor = _SECRET.findall(rotated.text)[0]
    event = {"action": "user.signed_in", "actor": {"id": "u-1"}}

    async def status(token: str) -> int:
        answer = await console.app.post("/v1/key/workspace/events", json=event, headers={"x-api-key": token})
        return answer.status_code

    assert (rotated.status_code, await status(secret), await status(successor)) == (201, 201, 201)
    assert "It was rotated before" in (await console.get(f"{here}/rotate")).text
    assert (await send(console, f"{here}/rotate", overlap="day")).status_code == 409
    assert leads_to(await send(console, f"{here}/revoke", confirm="Job")) == here
    assert (await status(secret), await status(successor)) == (401, 201)
    assert here in (await console.get(f"{KEYS}?state=revoked")).text
    keys = "select count(*) from mainstay.api_keys"
    before = await value(db, keys)
    await age(db, "1 hour")
    try:
        asked = await send(console, KEYS, name="Later")
        assert (asked.status_code, _SECRET.search(asked.text)) == (403, None)
        assert await value(db, keys) == before
    finally:
        await age(db, "-1 hour")


@pytest.mark.parametrize(
    ("form", "given"),
    [
        ({"name": " n "}, {"name": "n", "kind": "company", "workspace_id": None, "scopes": None}),
        ({"workspaceId": "w"}, {"kind": "workspace", "workspace_id": "w"}),
        ({"allowList": "192.0.2.1, ::1\n\n10.0.0.0/8"}, {"allow_list": ["192.0.2.1", "::1", "10.0.0.0/8"]}),
        ({"labels": "a, ,b"}, {"labels": ["a", "b"]}),
        ({"rights": "some"}, {"scopes": ["events.write", "keys"]}),
    ],
)
async def test_what_the_form_of_a_key_means(form: dict[str, str], given: dict[str, Any]) -> None:
    draft, meant = keys_form.read(form, ["keys", "events.write", "all"], SCOPES)
    assert draft.wrong == {}
    assert {name: meant[name] for name in given} == given
    assert keys_form.OVERLAPS["none"][1] == timedelta(0)


async def test_the_company_is_changed_by_those_who_may(console: Console) -> None:
    wrong(await send(console, COMPANY, name=""), "name", "")
    assert leads_to(await send(console, COMPANY, "manager", name="Test company")) == COMPANY
    wrong(await send(console, f"{COMPANY}/sessions", sessionIdleMinutes="4"), "sessionIdleMinutes", "5 to 720")
    answer = await send(console, f"{COMPANY}/sessions", sessionIdleMinutes="x", sessionLifetimeHours="9")
    wrong(answer, "sessionIdleMinutes", "Must be a whole number")
    assert 'value="9"' in answer.text
    assert (await send(console, f"{COMPANY}/sessions", "manager", sessionIdleMinutes="30")).status_code == 403
    await send(console, f"{COMPANY}/sessions", sessionIdleMinutes="30", sessionLifetimeHours="")
    assert "after 30 min without use, and 7 days after" in (await console.get(COMPANY)).text
    await send(console, f"{COMPANY}/sessions", sessionIdleMinutes="", sessionLifetimeHours="")
    wrong(await send(console, f"{COMPANY}/second-factor", **{"from": ""}), "from", "would lock yourself out", 400)
    wrong(await send(console, f"{COMPANY}/second-factor", **{"from": "soon"}), "from", "Must be a day")
    for fields in ({"from": ""}, {"do": "relent"}):
        assert (await send(console, f"{COMPANY}/second-factor", "manager", **fields)).status_code == 403
    page = (await console.get(COMPANY)).text
    assert "3 of 3 members have none" in page
    assert "Manager Person" in page
    assert f"{COMPANY}/sessions" not in (await console.get(COMPANY, "manager")).text
    assert (await console.get(COMPANY, "staff")).status_code == 403


async def test_operators_change_limits_and_companies_see_theirs(console: Console) -> None:
    one = f"{ALL}?policy=refund"
    assert (await console.get(ALL, "manager")).status_code == 403
    assert (await console.get(f"{ALL}?policy=nothing")).status_code == 404
    wrong(await send(console, f"{ALL}/mode", policy="refund", mode="shadow"), "reason", "1 to 500")
    assert (await send(console, f"{ALL}/mode", policy="refund", mode="loud", reason="r")).status_code == 400
    given = {"policy": "refund", "allowance": "7", "reason": "asked"}
    wrong(await send(console, f"{ALL}/figures", **{**given, "allowance": "0"}), "allowance", "from 1 to")
    wrong(await send(console, f"{ALL}/figures", **{**given, "allowance": "many"}), "allowance", "whole number")
    wrong(await send(console, f"{ALL}/figures", **given, companyId="nobody"), "companyId", "no such company")
    wrong(await send(console, f"{ALL}/figures", **given, until="2020-01-01"), "until", "must lie ahead")
    assert leads_to(await send(console, f"{ALL}/figures", **given, companyId=console.tenancy.company_id)) == one
    assert leads_to(await send(console, f"{ALL}/mode", policy="refund", mode="shadow", reason="watch it")) == one
    own = (await console.get(LIMITS, "manager")).text
    row = own[own.index("<td>Refunds</td>") :].partition("</tr>")[0]
    assert "7 in 1 min" in row
    assert "operators, for you" in row
    assert "shadow" in row
    assert "Test company" in (await console.get(one)).text.partition(">Figures<")[2]
    await send(console, f"{ALL}/drop", policy="refund", companyId=console.tenancy.company_id)
    assert "operators, for you" not in (await console.get(LIMITS, "manager")).text


async def test_restricted_mode_is_switched_on_and_off(console: Console) -> None:
    wrong(await send(console, CLOSED, reason="x"), "reason", "3 to 500")
    assert (await send(console, CLOSED, "manager", reason="an incident")).status_code == 403
    assert leads_to(await send(console, CLOSED, reason="An incident of logins")) == CLOSED
    try:
        closed = (await console.get(CLOSED)).text
        assert closed.count("An incident of logins") == 2
        assert (await console.get(MEMBERS)).status_code == 503
    finally:
        assert leads_to(await send(console, f"{CLOSED}/lift")) == CLOSED
    assert (await console.get(MEMBERS)).status_code == 200
