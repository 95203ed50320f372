"""Departments: opened, renamed, closed, and who is in them."""

import pytest

from mainstay.members import departments
from tests.members.conftest import DEPARTMENTS, MEMBERS, Crew, pointers, refused
from tests.tenancy import open_tenancy

NOWHERE = "00000000-0000-7000-8000-00000000dead"


@pytest.mark.contract("NP-A-13")
async def test_a_department_with_members_is_read_back(crew: Crew) -> None:
    made = await crew.done("POST", DEPARTMENTS, json={"name": " Support "})
    assert (made["name"], made["members"]) == ("Support", 0)
    at = f"{DEPARTMENTS}/{made['id']}"
    for _ in range(2):
        await crew.done("PUT", f"{at}/members/{crew.ids['staff']}", "manager")
    await crew.done("PUT", f"{at}/members/{crew.ids['owner'].upper()}")

    assert (await crew.done("GET", at))["members"] == 2
    listed = await crew.done("GET", DEPARTMENTS)
    assert [(one["name"], one["members"]) for one in listed["data"]] == [("Support", 2)]
    assert listed["meta"] == {"limit": 50, "total": 1, "totalIsExact": True, "nextCursor": None}
    page = await crew.done("GET", f"{at}/members?limit=1")
    assert [one["name"] for one in page["data"]] == ["Owner"]
    rest = await crew.done("GET", f"{at}/members?limit=1&cursor={page['meta']['nextCursor']}")
    assert [one["name"] for one in rest["data"]] == ["Staff"]
    assert (rest["meta"]["total"], rest["meta"]["nextCursor"]) == (2, None)
    assert (await crew.done("GET", f"{MEMBERS}?departmentId={made['id']}"))["meta"]["total"] == 2

    for _ in range(2):
        await crew.done("DELETE", f"{at}/members/{crew.ids['owner']}")
    await crew.done("DELETE", f"{MEMBERS}/{crew.ids['staff']}")
    assert (await crew.done("GET", at))["members"] == 0
    told = [(name, data.get("personId")) for name, data in await crew.announced("department.joined", "department.left")]
    assert told == [
        ("department.joined", crew.ids["staff"]),
        ("department.joined", crew.ids["owner"]),
        ("department.left", crew.ids["owner"]),
    ]


async def test_a_closed_department_is_gone_and_its_history_is_not(crew: Crew) -> None:
    made = await crew.done("POST", DEPARTMENTS, json={"name": "Support"})
    at = f"{DEPARTMENTS}/{made['id']}"
    await crew.done("PUT", f"{at}/members/{crew.ids['staff']}")
    assert (await crew.done("PATCH", at, json={"name": "SUPPORT"}))["name"] == "SUPPORT"
    await crew.done("PATCH", at, json={"name": "SUPPORT"})
    await crew.done("DELETE", at)

    for method, path, body in (("GET", at, None), ("DELETE", at, None), ("PATCH", at, {"name": "x"})):
        refused(await crew.call(method, path, json=body), 404)
    refused(await crew.call("GET", f"{at}/members"), 404)
    assert (await crew.done("GET", f"{MEMBERS}/{crew.ids['staff']}"))["name"] == "Staff"
    told = await crew.announced("department.opened", "department.renamed", "department.closed")
    assert [(name, data["name"]) for name, data in told] == [
        ("department.opened", "Support"), ("department.renamed", "SUPPORT"), ("department.closed", "SUPPORT"),
    ]  # fmt: skip
    assert told[-1][1] | {"members": 1, "by": crew.ids["owner"]} == told[-1][1]


async def test_names_are_checked_and_one_of_a_kind(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await crew.done("POST", DEPARTMENTS, json={"name": "Straße"})
    other = await crew.done("POST", DEPARTMENTS, json={"name": "x" * 200})
    for name in ("STRASSE", "\uff33traße", " straße"):
        refused(await crew.call("POST", DEPARTMENTS, json={"name": name}), 409, "name-taken")
    refused(await crew.call("PATCH", f"{DEPARTMENTS}/{other['id']}", json={"name": "strasse"}), 409, "name-taken")
    for name in ("", "x" * 201, "a\nb", "\0"):
        assert pointers(await crew.call("POST", DEPARTMENTS, json={"name": name})) == ["#/name"]
    assert pointers(await crew.call("POST", DEPARTMENTS, json={"name": "a", "more": 1})) == ["#"]
    monkeypatch.setattr(departments, "MOST_DEPARTMENTS", 3)
    await crew.done("POST", DEPARTMENTS, json={"name": "third"})
    refused(await crew.call("POST", DEPARTMENTS, json={"name": "fourth"}), 409, "too-many-departments")
    await crew.done("DELETE", f"{DEPARTMENTS}/{first['id']}")
    await crew.done("POST", DEPARTMENTS, json={"name": "fourth"})


async def test_only_members_of_the_company_come_into_its_departments(crew: Crew) -> None:
    made = await crew.done("POST", DEPARTMENTS, json={"name": "Support"})
    other = Crew(crew.api, crew.db, await open_tenancy(crew.db))
    stranger = await other.add("stranger", "owner")
    for person in (stranger, NOWHERE, "no-uuid"):
        refused(await crew.call("PUT", f"{DEPARTMENTS}/{made['id']}/members/{person}"), 404)
        refused(await other.call("PUT", f"{DEPARTMENTS}/{made['id']}/members/{person}", "stranger"), 404)
    refused(await other.call("GET", f"{MEMBERS}?departmentId={made['id']}", "stranger"), 404)
    assert (await other.done("GET", DEPARTMENTS, "stranger"))["data"] == []
