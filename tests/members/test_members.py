"""Members: seen, given other rights, suspended, restored, removed, and leaving."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from mainstay import identity
from mainstay.kernel.db import Database
from mainstay.kernel.errors import Forbidden
from mainstay.kernel.outbox import Actor
from mainstay.members import changing, leaving
from mainstay.members.errors import LastOwner
from mainstay.web.callers import Caller
from tests.cli.running import SECRETS, called
from tests.conftest import running_app
from tests.members.conftest import COMPANY, MEMBERS, TOKEN, Crew, pointers, refused
from tests.tenancy import OPERATOR, bearer, open_tenancy


async def test_members_are_found_by_role_state_and_a_part_of_name_or_email(crew: Crew) -> None:
    await crew.add("o_neil%", "staff")
    await crew.done("POST", f"{MEMBERS}/{crew.ids['staff']}/suspend")
    found = await crew.done("GET", MEMBERS)
    assert [one["role"] for one in found["data"]] == ["owner", "manager", "staff", "staff"]
    assert found["meta"] == {"limit": 50, "total": 4, "totalIsExact": True, "nextCursor": None}
    owner = found["data"][0]
    assert (owner["email"], owner["suspendedAt"], owner["mfaEnabled"]) == ("owner@example.com", None, False)
    assert "password" not in str(found).lower()
    for query, names in (
        ("role=staff", ["Staff", "O_Neil%"]),
        ("role=staff&suspended=true", ["Staff"]),
        ("suspended=false", ["Owner", "Manager", "O_Neil%"]),
        ("search=MANAG", ["Manager"]),
        ("search=@example", ["Owner", "Manager", "Staff", "O_Neil%"]),
        ("search=_", ["O_Neil%"]),
        ("search=%25", ["O_Neil%"]),
        ("search=%5C", []),
        (f"search={'x' * 100}", []),
    ):
        listed = await crew.done("GET", f"{MEMBERS}?{query}", "manager")
        assert [one["name"] for one in listed["data"]] == names, query
        assert listed["meta"]["total"] == len(names)
    first = await crew.done("GET", f"{MEMBERS}?limit=3")
    rest = await crew.done("GET", f"{MEMBERS}?limit=3&cursor={first['meta']['nextCursor']}")
    assert [one["name"] for one in rest["data"]] == ["O_Neil%"]
    for query, pointer in (
        ("role=boss", "role"), ("suspended=1", "suspended"), (f"search={'x' * 101}", "search"), ("search=", "search"),
        ("search=%00", "search"), ("limit=0", "limit"), ("limit=1001", "limit"), ("cursor=x", "cursor"), ("q=1", "q"),
    ):  # fmt: skip
        assert pointers(await crew.call("GET", f"{MEMBERS}?{query}")) == [pointer]
    other = Crew(crew.api, crew.db, await open_tenancy(crew.db))
    await other.add("stranger", "owner")
    refused(await other.call("GET", f"{MEMBERS}?cursor={first['meta']['nextCursor']}", "stranger"), 400)


async def test_a_role_is_tried_first_and_given_then(crew: Crew) -> None:
    at = f"{MEMBERS}/{crew.ids['staff']}"
    given = await crew.done("PUT", f"{at}/features", json={"features": ["usage", "events"]})
    assert given["gains"] == {
        "acts": [
            {"act": "events.read", "title": "search, follow and export events"},
            {"act": "usage.read", "title": "see usage and limits"},
        ],
        "features": ["events", "usage"],
    }
    assert (given["applied"], given["member"]["features"]) == (True, ["events", "usage"])
    assert (await crew.call("GET", f"{COMPANY}/usage", "staff")).status_code == 200

    tried = await crew.done("POST", f"{at}/role", json={"role": "manager", "dryRun": True})
    assert (tried["applied"], tried["member"]["role"]) == (False, "staff")
    assert tried["loses"] == {"acts": [], "features": ["events", "usage"]}
    gained = [one["act"] for one in tried["gains"]["acts"]]
    assert "members.change" in gained
    assert not {"events.read", "usage.read", "company.secure"} & set(gained)
    refused(await crew.call("GET", MEMBERS, "staff"), 403)
    done = await crew.done("POST", f"{at}/role", "manager", json={"role": "manager"})
    assert {**done, "applied": False, "member": tried["member"]} == tried
    assert (done["applied"], done["member"]["role"], done["member"]["features"]) == (True, "manager", [])
    assert (await crew.call("GET", MEMBERS, "staff")).status_code == 200

    again = await crew.done("POST", f"{at}/role", json={"role": "manager"})
    assert (again["applied"], again["gains"], again["loses"]) == (True, {"acts": [], "features": []}, again["gains"])
    back = await crew.done("POST", f"{at}/role", json={"role": "staff", "features": ["members"]})
    assert back["after"] == {"role": "staff", "features": ["members"]}
    assert (await crew.done("POST", f"{at}/role", json={"role": "staff"}))["after"]["features"] == ["members"]
    told = await crew.announced("member.role_changed", "member.features_changed")
    assert [(name, data["roleBefore"], data["role"], data["features"], data["by"]) for name, data in told] == [
        ("member.features_changed", "staff", "staff", ["events", "usage"], crew.ids["owner"]),
        ("member.role_changed", "staff", "manager", [], crew.ids["manager"]),
        ("member.role_changed", "manager", "staff", ["members"], crew.ids["owner"]),
    ]


async def test_what_rights_may_not_be(crew: Crew) -> None:
    at = f"{MEMBERS}/{crew.ids['staff']}"
    for path, body, pointer in (
        ("role", {"role": "boss"}, "#/role"),
        ("role", {}, "#"),
        ("role", {"role": "manager", "features": ["events"]}, "#/features"),
        ("role", {"role": "staff", "features": ["money"]}, "#/features/0"),
        ("role", {"role": "staff", "dryRun": 1}, "#/dryRun"),
        ("features", {"features": ["x"] * 33}, "#/features"),
    ):
        method = "POST" if path == "role" else "PUT"
        assert pointers(await crew.call(method, f"{at}/{path}", json=body)) == [pointer]
    path = f"{MEMBERS}/{crew.ids['manager']}/features"
    assert pointers(await crew.call("PUT", path, json={"features": []})) == ["#/features"]


async def test_nobody_changes_themselves(crew: Crew) -> None:
    for who in ("owner", "manager"):
        at = f"{MEMBERS}/{crew.ids[who].upper()}"
        for method, path, body in (
            ("POST", "/role", {"role": "staff"}),
            ("POST", "/role", {"role": "owner", "dryRun": True}),
            ("PUT", "/features", {"features": []}),
            ("POST", "/suspend", None),
            ("POST", "/restore", None),
            ("DELETE", "", None),
        ):
            refused(await crew.call(method, at + path, who, json=body), 409, "own-membership")


async def test_only_owners_who_just_proved_themselves_make_and_change_owners(crew: Crew) -> None:
    await crew.add("second", "owner")
    stale = await bearer(crew.db, crew.ids["owner"], crew.tenancy.company_id, is_fresh=False)
    at, second = f"{MEMBERS}/{crew.ids['staff']}/role", f"{MEMBERS}/{crew.ids['second']}"
    acts: list[tuple[str, str, object]] = [
        ("POST", at, {"role": "owner"}), ("POST", f"{second}/role", {"role": "staff"}),
        ("POST", f"{second}/suspend", None), ("POST", f"{second}/restore", None), ("DELETE", second, None),
    ]  # fmt: skip
    for method, path, body in acts:
        refused(await crew.call(method, path, "manager", json=body), 403, "owners-only")
        answer = await crew.api.request(method, path, headers=stale, json=body)
        refused(answer, 403, "step-up-required")
    tried = await crew.api.post(at, headers=stale, json={"role": "owner", "dryRun": True})
    assert (tried.status_code, tried.json()["applied"]) == (200, False)
    refused(await crew.call("POST", at, "manager", json={"role": "owner", "dryRun": True}), 403, "owners-only")
    for method, path, body in acts:
        assert (await crew.call(method, path, json=body)).status_code == 200


async def test_a_company_keeps_an_owner_who_can_act(crew: Crew) -> None:
    refused(await crew.call("POST", f"{COMPANY}/leave"), 409, "last-owner")
    second = await crew.add("second", "owner")
    await crew.done("POST", f"{MEMBERS}/{second}/suspend")
    refused(await crew.call("POST", f"{COMPANY}/leave"), 409, "last-owner")
    await crew.done("POST", f"{MEMBERS}/{second}/restore")
    await crew.done("DELETE", f"{MEMBERS}/{second}")
    refused(await crew.call("POST", f"{COMPANY}/leave"), 409, "last-owner")
    assert (await crew.call("POST", f"{COMPANY}/leave", "staff")).status_code == 200
    refused(await crew.call("POST", f"{COMPANY}/leave", "staff"), 401)


@pytest.mark.parametrize("act", ["role", "suspend", "remove", "leave"])
async def test_two_owners_at_once_do_not_leave_the_company_without(crew: Crew, act: str) -> None:
    await crew.add("second", "owner")

    def request(by: str, to: str) -> asyncio.Task[httpx.Response]:
        at = f"{MEMBERS}/{crew.ids[to]}"
        method, path, body = {
            "role": ("POST", f"{at}/role", {"role": "staff"}),
            "suspend": ("POST", f"{at}/suspend", None),
            "remove": ("DELETE", at, None),
            "leave": ("POST", f"{COMPANY}/leave", None),
        }[act]
        return asyncio.create_task(crew.call(method, path, by, json=body))

    answers = await asyncio.gather(request("owner", "second"), request("second", "owner"))
    assert sorted(answer.status_code for answer in answers)[0] == 200
    assert sorted(answer.status_code for answer in answers)[1] in (401, 403, 409)
    async with crew.db.connection() as connection:
        left = await connection.fetchval(
            """select count(*) from mainstay.memberships where company_id = $1 and role = 'owner'
               and suspended_at is null""",
            crew.tenancy.company_id,
        )
    assert left == 1


async def test_who_leaves_waits_for_who_is_leaving(crew: Crew, db: Database) -> None:
    await crew.add("second", "owner")
    one, other = (
        Caller("person", crew.ids[name], name, crew.tenancy.company_id, role="owner") for name in ("owner", "second")
    )

    async def leave_too() -> None:
        async with db.begin() as tx:
            await leaving.leave(tx, other)

    async with db.begin() as tx:
        await leaving.leave(tx, one)
        second = asyncio.create_task(leave_too())
        while not second.done() and not await _is_somebody_waiting(db):
            await asyncio.sleep(0.01)
    with pytest.raises(LastOwner):
        await second


async def _is_somebody_waiting(db: Database) -> bool:
    async with db.connection() as connection:
        found = await connection.fetchval(
            """select exists (select from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock')"""
        )
    return bool(found)


async def test_suspension_acts_at_the_next_request_on_every_node(crew: Crew, fresh_url: str) -> None:
    at = f"{MEMBERS}/{crew.ids['manager']}"
    mine = await identity_key(crew, "manager")
    async with running_app(fresh_url) as node:
        assert (await node.get(MEMBERS, headers=crew.headers["manager"])).status_code == 200
        for _ in range(2):
            done = await crew.done("POST", f"{at}/suspend")
            assert done["member"]["suspendedBy"] == {"kind": "person", "id": crew.ids["owner"], "name": "Owner"}
            assert (done["keysGoingOn"], "go on" in done["notice"]) == (1, True)
        for api in (node, crew.api):
            refused(await api.get(MEMBERS, headers=crew.headers["manager"]), 401)
        assert (await node.get("/v1/key/company", headers={"x-api-key": mine})).status_code == 200
        for _ in range(2):
            assert (await crew.done("POST", f"{at}/restore"))["member"]["suspendedAt"] is None
        refused(await node.get(MEMBERS, headers=crew.headers["manager"]), 401)
        again = await bearer(crew.db, crew.ids["manager"], crew.tenancy.company_id)
        assert (await node.get(MEMBERS, headers=again)).status_code == 200
    assert await crew.letters("manager@example.com") == ["suspended"]
    told = await crew.announced("member.suspended", "member.restored")
    assert [(name, data["personId"], data.get("sessionsEnded")) for name, data in told] == [
        ("member.suspended", crew.ids["manager"], 1),
        ("member.restored", crew.ids["manager"], None),
    ]


async def identity_key(crew: Crew, name: str) -> str:
    """A key of the company that the person made."""
    actor = Actor(kind="person", id=crew.ids[name], name=name)
    async with crew.db.begin() as tx:
        made = await identity.issue_key(tx, actor, crew.tenancy.company_id, kind="company", name="theirs")
    return made.secret


@pytest.mark.contract("DR-A-09")
async def test_roles_and_suspensions_are_of_one_company_each(crew: Crew) -> None:
    """The same person owns one company and is of the staff in another."""
    other = Crew(crew.api, crew.db, await open_tenancy(crew.db))
    await other.add("other", "owner")
    async with crew.db.begin() as tx:
        await identity.add_person(
            tx, OPERATOR, other.tenancy.company_id, email="owner@example.com", name="x",
            password_hash="$argon2id$unused", role="staff",
        )  # fmt: skip
    there = await bearer(crew.db, crew.ids["owner"], other.tenancy.company_id)
    body = {"sessionIdleMinutes": 30}
    assert (await crew.call("PATCH", COMPANY, json=body)).status_code == 200
    refused(await crew.api.patch(COMPANY, headers=there, json=body), 403)

    await other.done("POST", f"{MEMBERS}/{crew.ids['owner']}/suspend", "other")
    refused(await crew.api.get(COMPANY, headers=there), 401)
    assert (await crew.done("GET", f"{MEMBERS}/{crew.ids['owner']}"))["suspendedAt"] is None
    removed = await other.done("DELETE", f"{MEMBERS}/{crew.ids['owner']}", "other")
    assert removed["keysGoingOn"] == 0
    refused(await other.call("GET", f"{MEMBERS}/{crew.ids['owner']}", "other"), 404)
    refused(await other.call("DELETE", f"{MEMBERS}/{crew.ids['owner']}", "other"), 404)
    assert (await crew.call("GET", COMPANY)).status_code == 200


async def test_operators_suspend_a_whole_person(crew: Crew) -> None:
    other = Crew(crew.api, crew.db, await open_tenancy(crew.db))
    await other.add("second", "owner")
    async with crew.db.begin() as tx:
        await identity.add_person(
            tx, OPERATOR, other.tenancy.company_id, email="owner@example.com", name="x",
            password_hash="$argon2id$unused", role="staff",
        )  # fmt: skip
    there = await bearer(crew.db, crew.ids["owner"], other.tenancy.company_id)
    at = f"/internal/people/{crew.ids['owner']}"
    known = await crew.api.get("/internal/people", params={"email": "OWNER@Example.com"}, headers=TOKEN)
    assert known.json()["data"] == [(await crew.api.get(at, headers=TOKEN)).json()]
    for _ in range(2):
        shown = (await crew.api.post(f"{at}/suspension", headers=TOKEN)).json()
        assert shown["suspendedAt"] is not None
        assert [(one["role"], one["hasNoOwner"]) for one in shown["companies"]] == [("owner", True), ("staff", False)]
    for headers in (crew.headers["owner"], there):
        refused(await crew.api.get(COMPANY, headers=headers), 401)
    seen = await crew.done("GET", f"{MEMBERS}?suspended=true", "manager")
    assert [(one["suspendedEverywhere"], one["suspendedAt"]) for one in seen["data"]] == [(True, None)]
    for _ in range(2):
        assert (await crew.api.delete(f"{at}/suspension", headers=TOKEN)).json()["suspendedAt"] is None
    refused(await crew.call("GET", COMPANY), 401)
    assert await crew.letters("owner@example.com") == ["suspended"]
    told = await crew.announced("member.suspended", "member.restored")
    both = [crew.tenancy.company_id, other.tenancy.company_id]
    assert [(name, data["company"], data["everywhere"]) for name, data in told] == [
        *(("member.suspended", company, True) for company in both),
        *(("member.restored", company, True) for company in both),
    ]
    nobody = await crew.api.get("/internal/people", params={"email": "no address"}, headers=TOKEN)
    assert nobody.json() == {"data": []}


async def test_who_was_owner_a_moment_ago_changes_nobody(crew: Crew, db: Database) -> None:
    """The role counts as it is when the change is made, not as it was when the request came in."""
    caller = Caller("person", crew.ids["owner"], "Owner", crew.tenancy.company_id, role="owner", is_fresh=True)
    async with db.begin() as tx:
        await tx.connection.execute("update mainstay.memberships set role = 'staff' where person_id = $1", caller.id)
        with pytest.raises(Forbidden):
            await changing.change_role(tx, caller, crew.ids["staff"], role="manager", features=None, is_tried=False)


async def test_operators_show_suspend_and_restore_a_person_by_command(crew: Crew) -> None:
    async def told(*arguments: str) -> dict[str, Any]:
        ran = await asyncio.to_thread(
            called, "people", *arguments, "--json", env={**SECRETS, "DATABASE_URL": crew.db.dsn}
        )
        assert ran.code == 0, ran.err
        shown: dict[str, Any] = json.loads(ran.out)
        return {**shown, "told": ran.err}

    suspended = await told("suspend", "OWNER@example.com")
    assert (suspended["id"], suspended["suspendedAt"] is None) == (crew.ids["owner"], False)
    assert "Test company" in suspended["told"]
    refused(await crew.call("GET", COMPANY), 401)
    assert await crew.letters("owner@example.com") == ["suspended"]
    assert (await told("restore", crew.ids["owner"]))["suspendedAt"] is None
    assert [one["role"] for one in (await told("show", "owner@example.com"))["companies"]] == ["owner"]
    for command in ("show", "suspend", "restore"):
        ran = await asyncio.to_thread(
            called, "people", command, "nobody@x.org", env={**SECRETS, "DATABASE_URL": crew.db.dsn}
        )
        assert (ran.code, "no person 'nobody@x.org'" in ran.err) == (1, True)
