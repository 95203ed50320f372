"""Invitations into companies, departments and who is in them.

Locks: SHARE ROW EXCLUSIVE on companies and memberships for moments, for the new foreign keys; all tables are new.
"""

from alembic import op

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    op.execute(
        """create table mainstay.invitations (
             id uuid not null,
             company_id uuid not null,
             email text not null,
             email_key text not null,
             role text not null,
             features text[] not null default '{}',
             invited_by jsonb not null,
             created_at timestamptz not null default mainstay.now(),
             sent_at timestamptz not null default mainstay.now(),
             sent integer not null default 1,
             expires_at timestamptz not null,
             accepted_at timestamptz,
             accepted_by uuid,
             withdrawn_at timestamptz,
             constraint invitations_pkey primary key (id),
             constraint invitations_company_id_fkey foreign key (company_id) references mainstay.companies (id),
             constraint invitations_role_check check (role in ('owner', 'manager', 'staff')),
             constraint invitations_one_end_check check (accepted_at is null or withdrawn_at is null)
           )"""
    )
    op.execute(
        """create unique index invitations_one_open_idx on mainstay.invitations (company_id, email_key)
           where accepted_at is null and withdrawn_at is null"""
    )
    op.execute("create index invitations_company_id_id_idx on mainstay.invitations (company_id, id)")
    op.execute(
        """create table mainstay.departments (
             id uuid not null,
             company_id uuid not null,
             name text not null,
             name_key text not null,
             created_at timestamptz not null default mainstay.now(),
             constraint departments_pkey primary key (id),
             constraint departments_company_id_name_key_key unique (company_id, name_key),
             constraint departments_company_id_id_key unique (company_id, id),
             constraint departments_company_id_fkey foreign key (company_id) references mainstay.companies (id)
           )"""
    )
    op.execute(
        """create table mainstay.department_members (
             department_id uuid not null,
             person_id uuid not null,
             company_id uuid not null,
             joined_at timestamptz not null default mainstay.now(),
             constraint department_members_pkey primary key (department_id, person_id),
             constraint department_members_department_fkey foreign key (company_id, department_id)
               references mainstay.departments (company_id, id) on delete cascade,
             constraint department_members_member_fkey foreign key (company_id, person_id)
               references mainstay.memberships (company_id, person_id) on delete cascade
           )"""
    )
    op.execute("create index department_members_member_idx on mainstay.department_members (company_id, person_id)")
