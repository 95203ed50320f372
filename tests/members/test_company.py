"""The company: read, renamed, its sessions limited, and how much it has."""

from datetime import timedelta

from tests.conftest import SqlClock
from tests.members.conftest import COMPANY, DEPARTMENTS, MEMBERS, Crew, pointers, refused
from tests.tenancy import bearer


async def test_the_company_is_seen_by_all_and_named_by_who_manages_it(crew: Crew) -> None:
    seen = await crew.done("GET", COMPANY, "staff")
    assert (seen["id"], seen["name"], seen["plan"]) == (crew.tenancy.company_id, "Test company", "growth")
    assert (seen["sessionIdleMinutes"], seen["sessionsIdleAfterSeconds"]) == (None, 43_200)
    assert (seen["sessionLifetimeHours"], seen["sessionsEndAfterSeconds"]) == (None, 604_800)
    refused(await crew.call("PATCH", COMPANY, "staff", json={"name": "x"}), 403)
    for _ in range(2):
        assert (await crew.done("PATCH", COMPANY, "manager", json={"name": " New name "}))["name"] == "New name"
    assert (await crew.done("PATCH", COMPANY, json={}))["name"] == "New name"
    for body, pointer in (
        ({"name": ""}, "#/name"), ({"name": "x" * 201}, "#/name"), ({"name": None}, "#/name"), ({"plan": "free"}, "#"),
    ):  # fmt: skip
        assert pointers(await crew.call("PATCH", COMPANY, json=body)) == [pointer]
    told = await crew.announced("company.changed", "company.secured")
    assert [(name, data["name"], data["nameBefore"], data["by"]) for name, data in told] == [
        ("company.changed", "New name", "Test company", crew.ids["manager"])
    ]


async def test_limits_of_sessions_are_an_owners_with_a_recent_proof(crew: Crew, sql_clock: SqlClock) -> None:
    body = {"sessionIdleMinutes": 5, "sessionLifetimeHours": 720}
    refused(await crew.call("PATCH", COMPANY, "manager", json={"name": "x", **body}), 403)
    stale = await bearer(crew.db, crew.ids["owner"], crew.tenancy.company_id, is_fresh=False)
    refused(await crew.api.patch(COMPANY, headers=stale, json=body), 403, "step-up-required")
    assert (await crew.done("GET", COMPANY))["name"] == "Test company"
    for name, least, most in (("sessionIdleMinutes", 5, 720), ("sessionLifetimeHours", 1, 720)):
        for value in (least - 1, most + 1, -(2**63), 2**70, "5", 5.5, True):
            assert pointers(await crew.call("PATCH", COMPANY, json={name: value})) == [f"#/{name}"], value
        for value in (least, most, None):
            assert (await crew.done("PATCH", COMPANY, json={name: value}))[name] == value
    changed = await crew.done("PATCH", COMPANY, json=body)
    assert (changed["sessionsIdleAfterSeconds"], changed["sessionsEndAfterSeconds"]) == (300, 2_592_000)
    told = await crew.announced("company.secured")
    assert (len(told), told[-1][1]["sessionIdleMinutes"], told[-1][1]["sessionIdleMinutesBefore"]) == (7, 5, None)

    async with crew.db.connection() as connection:
        await connection.execute("update mainstay.sessions set last_used_at = mainstay.now()")
    await sql_clock.move(timedelta(minutes=5, seconds=1))
    refused(await crew.call("GET", COMPANY), 401)


async def test_how_much_the_company_has(crew: Crew) -> None:
    second = await crew.add("second", "owner")
    await crew.done("POST", f"{MEMBERS}/{second}/suspend")
    await crew.done("POST", DEPARTMENTS, json={"name": "Support"})
    gone, _ = await crew.invited("gone@example.com")
    await crew.invited("ann@example.com")
    await crew.done("DELETE", f"/api/v1/invites/{gone['id']}")
    assert await crew.done("GET", f"{COMPANY}/stats", "manager") == {
        "members": {"total": 4, "byRole": {"owner": 2, "manager": 1, "staff": 1}, "suspended": 1},
        "departments": 1,
        "openInvitations": 1,
        "workspaces": 2,
        "keys": 3,
    }
    refused(await crew.call("GET", f"{COMPANY}/stats", "staff"), 403)
    assert pointers(await crew.call("GET", f"{COMPANY}/stats?since=1")) == ["since"]


async def test_open_sessions_end_when_the_company_has_it_with_no_limit_of_its_own_too(crew: Crew) -> None:
    for hours, days in ((720, 30), (None, 7), (720, 7)):
        await crew.done("PATCH", COMPANY, json={"sessionLifetimeHours": hours})
        async with crew.db.connection() as connection:
            longest = "select max(expires_at - created_at) from mainstay.sessions where company_id = $1"
            assert await connection.fetchval(longest, crew.tenancy.company_id) == timedelta(days=days)
