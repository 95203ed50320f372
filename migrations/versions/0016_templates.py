"""Workspace templates with their assignments, event schemas, flags of events, and the reports of the daily check.

Locks: none; every table is new.
"""

from alembic import op

revision = "0016"
down_revision = "0015"

_TEMPLATES = """
  create table mainstay.rule_marks (
    company_id uuid not null constraint rule_marks_pkey primary key,
    version bigint not null default 1,
    changed_at timestamptz not null default mainstay.now()
  );
  create index rule_marks_changed_at_idx on mainstay.rule_marks (changed_at);
  create table mainstay.templates (
    id uuid not null constraint templates_pkey primary key,
    company_id uuid not null,
    name text not null,
    description text,
    mode text not null constraint templates_mode_check check (mode in ('enforce', 'flag')),
    rules jsonb not null,
    version integer not null default 1,
    created_at timestamptz not null default mainstay.now(),
    changed_at timestamptz not null default mainstay.now(),
    constraint templates_company_id_name_key unique (company_id, name)
  );
  create table mainstay.template_assignments (
    workspace_id uuid not null,
    template_id uuid not null constraint template_assignments_template_id_fkey
      references mainstay.templates (id) on delete cascade,
    company_id uuid not null,
    assigned_at timestamptz not null default mainstay.now(),
    constraint template_assignments_pkey primary key (workspace_id, template_id)
  );
  create index template_assignments_template_id_idx on mainstay.template_assignments (template_id);
  create index template_assignments_company_id_idx on mainstay.template_assignments (company_id);
"""
_SCHEMAS = """
  create table mainstay.event_schemas (
    id uuid not null constraint event_schemas_pkey primary key,
    company_id uuid not null,
    workspace_id uuid,
    action text not null,
    mode text not null constraint event_schemas_mode_check check (mode in ('off', 'warn', 'enforce')),
    description text,
    version integer not null default 1,
    created_at timestamptz not null default mainstay.now(),
    changed_at timestamptz not null default mainstay.now(),
    constraint event_schemas_company_id_workspace_id_action_key
      unique nulls not distinct (company_id, workspace_id, action)
  );
  create table mainstay.event_schema_versions (
    schema_id uuid not null constraint event_schema_versions_schema_id_fkey
      references mainstay.event_schemas (id) on delete cascade,
    version integer not null,
    company_id uuid not null,
    schema text not null,
    created_by jsonb not null,
    created_at timestamptz not null default mainstay.now(),
    constraint event_schema_versions_pkey primary key (schema_id, version)
  );
"""
_FINDINGS = """
  create table mainstay.event_flags (
    workspace_id uuid not null,
    seq bigint not null,
    company_id uuid not null,
    flags jsonb not null,
    constraint event_flags_pkey primary key (workspace_id, seq)
  );
  create table mainstay.template_checks (
    workspace_id uuid not null,
    template_id uuid not null constraint template_checks_template_id_fkey
      references mainstay.templates (id) on delete cascade,
    company_id uuid not null,
    version integer not null,
    seq bigint not null,
    received_at timestamptz not null,
    checked_at timestamptz not null default mainstay.now(),
    constraint template_checks_pkey primary key (workspace_id, template_id)
  );
  create index template_checks_template_id_idx on mainstay.template_checks (template_id);
  create table mainstay.template_reports (
    id uuid not null constraint template_reports_pkey primary key,
    company_id uuid not null,
    workspace_id uuid not null,
    template_id uuid not null,
    template_name text not null,
    template_version integer not null,
    day date not null,
    rule text not null,
    pointer text not null,
    events bigint not null,
    examples jsonb not null,
    created_at timestamptz not null default mainstay.now(),
    told_at timestamptz,
    constraint template_reports_once_key
      unique (workspace_id, template_id, template_version, day, pointer)
  );
  create index template_reports_company_idx on mainstay.template_reports (company_id, id);
  create index template_reports_day_idx on mainstay.template_reports (day);
"""


def upgrade() -> None:
    for statements in (_TEMPLATES, _SCHEMAS, _FINDINGS):
        for statement in statements.split(";\n"):
            if statement.strip():
                op.execute(statement)
