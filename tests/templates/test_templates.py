"""Templates are made, changed, deleted, given and taken, by those who may, within stated limits."""

from typing import Any

import pytest

from mainstay import archive, templates
from mainstay.kernel.errors import Invalid
from tests.templates.conftest import TEMPLATES, Ruled, faults
from tests.tenancy import OPERATOR, open_tenancy

NEW = {"name": "security", "rules": {"requiredActorFields": ["email"]}}


@pytest.mark.contract("HL-T-09")
@pytest.mark.parametrize("role", ["owner", "manager"])
async def test_owners_and_managers_manage_templates(company: Ruled, role: str) -> None:
    made = await company.call("POST", TEMPLATES, role=role, json={**NEW, "description": "d"})
    assert made.status_code == 201
    path = f"{TEMPLATES}/{made.json()['id']}"
    shown = (await company.call("GET", path, role=role)).json()
    assert shown == made.json()
    assert shown["rules"] == {
        "requiredActorFields": ["email"],
        "requiredMetadataKeys": [],
        "defaultCategories": {},
        "retentionDays": None,
        "projectRequired": False,
    }
    assert (shown["mode"], shown["version"], shown["workspaces"]) == ("enforce", 1, 0)
    change = {"mode": "flag", "rules": {"projectRequired": True}}
    changed = (await company.call("PATCH", path, role=role, json=change)).json()
    assert (changed["mode"], changed["version"], changed["rules"]["projectRequired"]) == ("flag", 2, True)
    assert (await company.call("PATCH", path, role=role, json=change)).json() == changed
    assert (await company.call("GET", TEMPLATES, role=role)).json() == {"data": [changed]}
    assert (await company.call("DELETE", path, role=role)).status_code == 204
    assert (await company.call("GET", path, role=role)).status_code == 404
    assert (await company.call("DELETE", path, role=role)).status_code == 404
    names = ["template.created", "template.changed", "template.deleted"]
    assert [len(await company.announced(name)) for name in names] == [1, 1, 1]
    assert (await company.announced("template.changed"))[0]["fields"] == ["mode", "rules"]


@pytest.mark.contract("HL-T-09")
async def test_staff_may_neither_write_nor_read(company: Ruled) -> None:
    made = await company.template()
    one = f"{TEMPLATES}/{made['id']}"
    place = f"{one}/assignments/{company.tenancy.workspace_id}"
    for method, path, body in (
        ("POST", TEMPLATES, NEW), ("GET", TEMPLATES, None), ("GET", one, None), ("PATCH", one, {"mode": "flag"}),
        ("DELETE", one, None), ("PUT", place, None), ("DELETE", place, None), ("GET", TEMPLATES + "/reports", None),
    ):  # fmt: skip
        assert (await company.call(method, path, role="staff", json=body)).status_code == 403
    assert (await company.call("GET", one)).json() == made


@pytest.mark.contract("HL-T-01")
async def test_taking_a_template_from_one_workspace_leaves_the_other(company: Ruled) -> None:
    made = await company.ruled(projectRequired=True)
    other = company.tenancy.other_workspace_id
    await company.assign(made, other)
    await company.assign(made, other)
    path = f"{TEMPLATES}/{made['id']}/assignments"
    held = [one["workspaceId"] for one in (await company.call("GET", path)).json()["data"]]
    assert held == [company.tenancy.workspace_id, other]
    assert (await company.call("GET", f"{TEMPLATES}/{made['id']}")).json()["workspaces"] == 2
    for _ in range(2):
        assert (await company.call("DELETE", f"{path}/{company.tenancy.workspace_id}")).status_code == 204
    assert (await company.send()).status_code == 201
    assert list(faults(await company.send(key=company.tenancy.other_key))) == ["#/projectId"]
    assert [one["workspaceId"] for one in (await company.call("GET", path)).json()["data"]] == [other]
    assert len(await company.announced("template.assigned")) == 2
    assert len(await company.announced("template.unassigned")) == 1


@pytest.mark.contract("HL-T-06", "HL-R-09")
async def test_the_longest_retention_of_its_templates_is_the_workspaces(company: Ruled) -> None:
    """What marking goes by: tests/archive shows that it does."""
    short = await company.ruled(retentionDays=3)
    assert await _window(company) == 3
    long = await company.template("long", retentionDays=30)
    await company.assign(long)
    assert await _window(company) == 30
    assert await _window(company, company.tenancy.other_workspace_id) is None
    await company.call("PATCH", f"{TEMPLATES}/{short['id']}", json={"rules": {"retentionDays": 40}})
    assert await _window(company) == 40
    await company.call("DELETE", f"{TEMPLATES}/{short['id']}")
    assert await _window(company) == 30
    await company.call("PATCH", f"{TEMPLATES}/{long['id']}", json={"rules": {}})
    assert await _window(company) is None


async def _window(company: Ruled, workspace_id: str | None = None) -> int | None:
    await company.relay()
    async with company.db.connection() as connection:
        days: int | None = await connection.fetchval(
            "select days from mainstay.workspace_retention where workspace_id = $1",
            workspace_id or company.tenancy.workspace_id,
        )
    return days


async def test_a_retention_that_somebody_else_set_is_left_alone(company: Ruled) -> None:
    ours = (company.tenancy.company_id, company.tenancy.workspace_id)
    async with company.db.begin() as tx:
        await archive.override_retention(tx, OPERATOR, *ours, days=9)
    made = await company.ruled(projectRequired=True)
    await company.call("DELETE", f"{TEMPLATES}/{made['id']}")
    assert await _window(company) == 9


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "#/name"),
        ({"name": "n" * 129}, "#/name"),
        ({"mode": "off"}, "#/mode"),
        ({"description": "d" * 501}, "#/description"),
        ({"rules": {"requiredActorFields": ["phone"]}}, "#/rules/requiredActorFields/0"),
        ({"rules": {"requiredActorFields": ["id", "id"]}}, "#/rules/requiredActorFields/1"),
        ({"rules": {"requiredMetadataKeys": ["k"] * 51}}, "#/rules/requiredMetadataKeys"),
        ({"rules": {"requiredMetadataKeys": ["k" * 129]}}, "#/rules/requiredMetadataKeys/0"),
        ({"rules": {"requiredMetadataKeys": ["\0"]}}, "#/rules/requiredMetadataKeys/0"),
        ({"rules": {"defaultCategories": {f"a{n}": "c" for n in range(51)}}}, "#/rules/defaultCategories"),
        ({"rules": {"retentionDays": 0}}, "#/rules/retentionDays"),
        ({"rules": {"retentionDays": 36_501}}, "#/rules/retentionDays"),
        ({"rules": {"projectRequired": 1}}, "#/rules/projectRequired"),
        ({"rules": {"other": True}}, "#/rules"),
        ({"other": True}, "#"),
    ],
)
async def test_what_is_no_template_is_refused_with_its_place(
    company: Ruled, change: dict[str, Any], pointer: str
) -> None:
    answer = await company.call("POST", TEMPLATES, json={**NEW, **change})
    assert answer.status_code == 400, answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert (await company.call("GET", TEMPLATES)).json() == {"data": []}


async def test_rules_at_their_limits_are_taken(company: Ruled) -> None:
    made = await company.template(
        "n" * 128,
        requiredActorFields=["id", "email", "name"],
        requiredMetadataKeys=[f"{n:0128}" for n in range(50)],
        defaultCategories={f"{n:0128}": "c" * 100 for n in range(40)},
        retentionDays=36_500,
    )
    assert made["rules"]["retentionDays"] == 36_500
    over = {"defaultCategories": {f"{n:0128}": "c" * 128 for n in range(50)}}
    answer = await company.call("POST", TEMPLATES, json={"name": "over", "rules": {**made["rules"], **over}})
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["#/rules"]


async def test_a_company_has_a_hundred_templates_and_a_workspace_ten(company: Ruled) -> None:
    ours = company.tenancy.company_id
    async with company.db.begin() as tx:
        for number in range(99):
            wanted = templates.NewTemplate(name=f"t{number}", rules=templates.Rules())
            made = await templates.create(tx, OPERATOR, ours, wanted)
            if number < 10:
                await templates.assign(tx, OPERATOR, ours, str(made["id"]), company.tenancy.workspace_id)
    last = await company.template("last")
    over = await company.call("POST", TEMPLATES, json={"name": "over", "rules": {}})
    assert (over.status_code, over.json()["type"].rpartition(":")[2]) == (409, "too-many-templates")
    place = f"{TEMPLATES}/{last['id']}/assignments/{company.tenancy.workspace_id}"
    assert (await company.call("PUT", place)).status_code == 409
    assert (await company.call("GET", f"{TEMPLATES}/{last['id']}")).json()["workspaces"] == 0


async def test_a_name_is_given_once_in_a_company(company: Ruled) -> None:
    await company.template("one")
    two = await company.template("two")
    assert (await company.call("POST", TEMPLATES, json={"name": "one", "rules": {}})).status_code == 409
    assert (await company.call("PATCH", f"{TEMPLATES}/{two['id']}", json={"name": "one"})).status_code == 409
    assert (await company.call("PATCH", f"{TEMPLATES}/{two['id']}", json={"name": "two"})).status_code == 200


async def test_another_companys_ids_are_not_there(company: Ruled) -> None:
    made = await company.template()
    other = await open_tenancy(company.db)
    place = f"{TEMPLATES}/{made['id']}/assignments/{other.workspace_id}"
    for method in ("PUT", "DELETE"):
        assert (await company.call(method, place)).status_code == 404
    async with company.db.begin() as tx:
        with pytest.raises(templates.TemplateNotFound):
            await templates.assign(tx, OPERATOR, other.company_id, made["id"], other.workspace_id)
        assert await templates.workspaces_of(tx, company.tenancy.company_id, made["id"]) == []


async def test_the_companys_own_log_takes_no_template(company: Ruled) -> None:
    made = await company.template()
    async with company.db.connection() as connection:
        own = await connection.fetchval(
            "select id from mainstay.workspaces where company_id = $1 and system", company.tenancy.company_id
        )
    answer = await company.call("PUT", f"{TEMPLATES}/{made['id']}/assignments/{own}")
    assert answer.status_code == Invalid.status
