"""Templates: made, changed, deleted, given to workspaces and taken from them; each act is announced."""

from typing import Any, Final

import msgspec
from msgspec import UNSET

from mainstay.kernel import ids, outbox
from mainstay.kernel.db import Connection, Record, Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.outbox import Actor
from mainstay.templates.errors import TemplateNameTaken, TemplateNotFound, TooManyTemplates
from mainstay.templates.queries import templates as rows
from mainstay.templates.rules import Rules, check_rules, retention_of
from mainstay.templates.schemas import NewTemplate, TemplateChange, fact_of

TEMPLATES_AT_MOST: Final = 100
PER_WORKSPACE_AT_MOST: Final = 10
RULES_BYTES: Final = 16_384


async def create(tx: Tx, actor: Actor, company_id: str, wanted: NewTemplate) -> Record:
    """The company has the template, which no workspace has yet. TemplateNameTaken, TooManyTemplates, Invalid."""
    values = _values(wanted.name, wanted.description, wanted.mode, wanted.rules)
    await rows.mark(tx, company_id)
    if await rows.count_templates(tx, company_id) >= TEMPLATES_AT_MOST:
        raise TooManyTemplates(f"A company has at most {TEMPLATES_AT_MOST} templates.")
    made = await rows.add_template(tx, company_id, ids.new_id(), values)
    if made is None:
        raise TemplateNameTaken
    await _tell(tx, actor, "template.created", made)
    return await get(tx, company_id, str(made["id"]))


async def change(tx: Tx, actor: Actor, company_id: str, template_id: str, wanted: TemplateChange) -> Record:
    """The template is as given, for events that arrive a second later on; other rules are a new version.

    TemplateNotFound, TemplateNameTaken, Invalid.
    """
    await rows.mark(tx, company_id)
    before = await get(tx, company_id, template_id)
    rules = _rules(before)
    given = {name: value for name in wanted.__struct_fields__ if (value := getattr(wanted, name)) is not UNSET}
    values = _values(
        given.get("name", before["name"]),
        given.get("description", before["description"]),
        given.get("mode", before["mode"]),
        given.get("rules", rules),
    )
    changed = sorted(name for name, value in given.items() if value != (rules if name == "rules" else before[name]))
    if not changed:
        return before
    if await rows.is_name_taken(tx, company_id, template_id, name=values["name"]):
        raise TemplateNameTaken
    await rows.change_template(tx, company_id, template_id, values, is_new_version="rules" in changed)
    row = await get(tx, company_id, template_id)
    await _tell(tx, actor, "template.changed", row, fields=changed, retentionDaysBefore=rules.retention_days)
    return row


async def delete(tx: Tx, actor: Actor, company_id: str, template_id: str) -> None:
    """The template is gone, from its workspaces too; what its checks reported stays. TemplateNotFound."""
    await rows.mark(tx, company_id)
    row = await get(tx, company_id, template_id)
    for one in await rows.assignments_of(tx, company_id, template_id):
        await unassign(tx, actor, company_id, template_id, str(one["workspace_id"]))
    await rows.delete_template(tx, company_id, template_id)
    await _tell(tx, actor, "template.deleted", row)


async def assign(tx: Tx, actor: Actor, company_id: str, template_id: str, workspace_id: str) -> None:
    """The workspace, which the caller knows to be the company's, has the template. TemplateNotFound, TooManyTemplates.

    Events that are stored stay as they are; the next daily check tells of those that break a rule.
    """
    await rows.mark(tx, company_id)
    row = await get(tx, company_id, template_id)
    if not await rows.assign(tx, company_id, workspace_id, template_id):
        return
    if await rows.count_assigned(tx, company_id, workspace_id) > PER_WORKSPACE_AT_MOST:
        raise TooManyTemplates(f"A workspace has at most {PER_WORKSPACE_AT_MOST} templates.")
    await _tell(tx, actor, "template.assigned", row, workspaceId=workspace_id)


async def unassign(tx: Tx, actor: Actor, company_id: str, template_id: str, workspace_id: str) -> None:
    """The workspace does not have the template. TemplateNotFound."""
    await rows.mark(tx, company_id)
    row = await get(tx, company_id, template_id)
    if await rows.unassign(tx, company_id, workspace_id, template_id):
        await _tell(tx, actor, "template.unassigned", row, workspaceId=workspace_id)


async def tell_readers(tx: Tx, company_id: str) -> None:
    """Every node of this database reads the company's templates and schemas anew once the transaction commits."""
    await rows.mark(tx, company_id)


async def get(db: Connection, company_id: str, template_id: str) -> Record:
    """The company's template; TemplateNotFound."""
    row = await rows.find_template(db, company_id, template_id) if ids.is_uuid(template_id) else None
    if row is None:
        raise TemplateNotFound
    return row


async def list_all(db: Connection, company_id: str) -> list[Record]:
    """The company's templates by name, at most 100."""
    return await rows.list_templates(db, company_id)


async def assignments(db: Connection, company_id: str, template_id: str) -> list[Record]:
    """The workspaces that have the template, longest first. TemplateNotFound."""
    await get(db, company_id, template_id)
    return await rows.assignments_of(db, company_id, template_id)


async def workspaces_of(db: Connection, company_id: str, template_id: str) -> list[str]:
    """The workspaces that have the template; none where there is no such template any more."""
    return [str(row["workspace_id"]) for row in await rows.assignments_of(db, company_id, template_id)]


async def retention_days_of(db: Connection, company_id: str, workspace_id: str) -> int | None:
    """The days for which the workspace's templates keep events: the longest of them, None where none says so."""
    return retention_of(_rules(row) for row in await rows.templates_of(db, company_id, workspace_id))


def _values(name: str, description: str | None, mode: str, rules: Rules) -> dict[str, Any]:
    check_rules(rules)
    text = msgspec.json.encode(rules).decode()
    if len(text.encode()) > RULES_BYTES:
        raise Invalid(faults=[Fault(f"must have at most {RULES_BYTES:,} bytes", "#/rules")])
    return {"name": name, "description": description, "mode": mode, "rules": text}


def _rules(row: Record) -> Rules:
    return msgspec.json.decode(row["rules"], type=Rules)


async def _tell(tx: Tx, actor: Actor, name: str, row: Record, **more: Any) -> None:
    data = {**fact_of(row), **more}
    await outbox.announce(tx, name, company_id=str(row["company_id"]), actor=actor, data=data)
