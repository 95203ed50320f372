"""Templates and event schemas: what a workspace asks of the events that it is sent.

    event --rules of the workspace's templates, schema of the action--> keeps them: stored
        |  breaks one that is enforced: refused (422), a fault and a pointer for each
        |  breaks one that is only flagged: stored, its flags beside it, outside what its hash covers
    stored events --daily at 06:00, from where the last check ended--> a row a day, workspace, template and rule;
                     `template.violated` to the company; the events stay as they are
    schema of an action: version 1 --another text--> version 2, in force --> ...   mode: off | warn | enforce

Guarantees: a change holds within a second on every node, and a workspace of a company without rules asks the database
nothing more for an event; default categories are given before anything is hashed; a template that is new to a
workspace, or has new rules, is checked against every stored event; what a check counted is counted once; a check costs
a bounded time whatever schema and event it is given. A workspace's own schema holds in place of its company's.
Refuses: over 100 templates a company and 10 a workspace, over 200 schemas (2 MiB) a workspace and as many for a whole
company, over 64 KiB or 5,000 parts a schema, schemas that refer elsewhere or to themselves.

Tables, all regional: templates, template_assignments, template_checks, template_reports, event_schemas,
event_schema_versions, event_flags, rule_marks (a row a company that has rules: tells readers of a change).
"""

from mainstay.templates.checking import Checker, Checks, flags_of, keep_flags
from mainstay.templates.errors import RulesBroken, SchemaNotFound, TemplateNotFound
from mainstay.templates.event_schemas import change as change_schema
from mainstay.templates.event_schemas import create as create_schema
from mainstay.templates.event_schemas import delete as delete_schema
from mainstay.templates.event_schemas import list_all as list_schemas
from mainstay.templates.event_schemas import read as read_schema
from mainstay.templates.reports import ReadOn, list_reports
from mainstay.templates.routes import router
from mainstay.templates.rules import Facts, Rules
from mainstay.templates.schemas import NewSchema, NewTemplate, SchemaChange, TemplateChange
from mainstay.templates.tasks import schedules, tasks
from mainstay.templates.templates import (
    assign,
    assignments,
    change,
    create,
    delete,
    get,
    list_all,
    retention_days_of,
    tell_readers,
    unassign,
    workspaces_of,
)

__all__ = [
    "Checker",
    "Checks",
    "Facts",
    "NewSchema",
    "NewTemplate",
    "ReadOn",
    "Rules",
    "RulesBroken",
    "SchemaChange",
    "SchemaNotFound",
    "TemplateChange",
    "TemplateNotFound",
    "assign",
    "assignments",
    "change",
    "change_schema",
    "create",
    "create_schema",
    "delete",
    "delete_schema",
    "flags_of",
    "get",
    "keep_flags",
    "list_all",
    "list_reports",
    "list_schemas",
    "read_schema",
    "retention_days_of",
    "router",
    "schedules",
    "tasks",
    "tell_readers",
    "unassign",
    "workspaces_of",
]
