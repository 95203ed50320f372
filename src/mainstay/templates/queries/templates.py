"""Statements on templates, their assignments, and the mark that tells readers of a change."""

from collections.abc import Mapping
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_MARK = Sql(
    "templates.mark",
    """insert into mainstay.rule_marks as m (company_id) values ($1)
       on conflict (company_id) do update set version = m.version + 1, changed_at = mainstay.now()""",
)
_COUNT = Sql("templates.count", "select count(*) from mainstay.templates where company_id = $1")
_ADD = Sql(
    "templates.add",
    """insert into mainstay.templates (id, company_id, name, description, mode, rules)
       values ($2, $1, $3, $4, $5, $6) on conflict (company_id, name) do nothing returning *""",
)
_NAME_IS_TAKEN = Sql(
    "templates.name_is_taken",
    "select exists (select from mainstay.templates where company_id = $1 and name = $2 and id <> $3)",
)
_CHANGE = Sql(
    "templates.change",
    """update mainstay.templates set name = $3, description = $4, mode = $5, rules = $6,
              version = version + case when $7 then 1 else 0 end, changed_at = mainstay.now()
        where company_id = $1 and id = $2 returning *""",
)
_DELETE = Sql("templates.delete", "delete from mainstay.templates where company_id = $1 and id = $2")
_SHOWN = """select t.*, (select count(*) from mainstay.template_assignments a where a.template_id = t.id) as workspaces
              from mainstay.templates t where t.company_id = $1"""
_FIND = Sql("templates.find", f"{_SHOWN} and t.id = $2")
_LIST = Sql("templates.list", f"{_SHOWN} order by t.name, t.id")
_COUNT_ASSIGNED = Sql(
    "templates.count_assigned",
    "select count(*) from mainstay.template_assignments where company_id = $1 and workspace_id = $2",
)
_ASSIGN = Sql(
    "templates.assign",
    """insert into mainstay.template_assignments (workspace_id, template_id, company_id) values ($2, $3, $1)
       on conflict do nothing""",
)
_UNASSIGN = Sql(
    "templates.unassign",
    "delete from mainstay.template_assignments where company_id = $1 and workspace_id = $2 and template_id = $3",
)
_ASSIGNMENTS = Sql(
    "templates.assignments",
    """select workspace_id, assigned_at from mainstay.template_assignments
        where company_id = $1 and template_id = $2 order by assigned_at, workspace_id""",
)
_OF_WORKSPACE = Sql(
    "templates.of_workspace",
    """select t.* from mainstay.template_assignments a join mainstay.templates t on t.id = a.template_id
        where a.company_id = $1 and a.workspace_id = $2 order by a.assigned_at, t.id""",
)


async def mark(tx: Tx, company_id: str) -> None:
    """Readers load the company's rules anew; nobody else changes them before this transaction ends."""
    await tx.run(_MARK, company_id)


async def count_templates(tx: Tx, company_id: str) -> int:
    """How many templates the company has."""
    found: int = await tx.value(_COUNT, company_id)
    return found


async def add_template(tx: Tx, company_id: str, template_id: str, values: Mapping[str, Any]) -> Record | None:
    """The template as it is stored; None where the name is taken."""
    return await tx.row(
        _ADD, company_id, template_id, values["name"], values["description"], values["mode"], values["rules"]
    )


async def is_name_taken(tx: Tx, company_id: str, template_id: str, *, name: str) -> bool:
    """Whether another template of the company has the name."""
    taken: bool = await tx.value(_NAME_IS_TAKEN, company_id, name, template_id)
    return taken


async def change_template(
    tx: Tx, company_id: str, template_id: str, values: Mapping[str, Any], *, is_new_version: bool
) -> None:
    """The template is as given, and is a new version where its rules differ."""
    given = (values["name"], values["description"], values["mode"], values["rules"])
    await tx.run(_CHANGE, company_id, template_id, *given, is_new_version)


async def delete_template(tx: Tx, company_id: str, template_id: str) -> None:
    """The template and its assignments are gone."""
    await tx.run(_DELETE, company_id, template_id)


async def find_template(db: Connection, company_id: str, template_id: str) -> Record | None:
    """The template with the count of its workspaces."""
    return await db.row(_FIND, company_id, template_id)


async def list_templates(db: Connection, company_id: str) -> list[Record]:
    """All templates of the company by name."""
    return await db.rows(_LIST, company_id)


async def count_assigned(tx: Tx, company_id: str, workspace_id: str) -> int:
    """How many templates the workspace has."""
    found: int = await tx.value(_COUNT_ASSIGNED, company_id, workspace_id)
    return found


async def assign(tx: Tx, company_id: str, workspace_id: str, template_id: str) -> bool:
    """Whether the workspace has the template only now."""
    return count_of(await tx.run(_ASSIGN, company_id, workspace_id, template_id)) == 1


async def unassign(tx: Tx, company_id: str, workspace_id: str, template_id: str) -> bool:
    """Whether the workspace had the template until now."""
    return count_of(await tx.run(_UNASSIGN, company_id, workspace_id, template_id)) == 1


async def assignments_of(db: Connection, company_id: str, template_id: str) -> list[Record]:
    """The workspaces that have the template, with since when."""
    return await db.rows(_ASSIGNMENTS, company_id, template_id)


async def templates_of(db: Connection, company_id: str, workspace_id: str) -> list[Record]:
    """The templates of the workspace in the order in which they were assigned."""
    return await db.rows(_OF_WORKSPACE, company_id, workspace_id)
