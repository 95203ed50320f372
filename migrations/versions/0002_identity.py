"""Companies, workspaces, people, memberships and API keys, with the operator's own company.

Locks: none on existing tables; everything here is new.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

OPERATOR_COMPANY = "00000000-0000-7000-8000-000000000000"
OPERATOR_WORKSPACE = "00000000-0000-7000-8000-000000000001"


def upgrade() -> None:
    _tenants()
    _people()
    _keys()
    op.execute(
        f"""insert into mainstay.companies (id, name, slug, plan)
            values ('{OPERATOR_COMPANY}', 'Operator', 'operator', 'enterprise')"""
    )
    op.execute(
        f"""insert into mainstay.workspaces (id, company_id, name, slug, system)
            values ('{OPERATOR_WORKSPACE}', '{OPERATOR_COMPANY}', 'System', 'system', true)"""
    )


def _tenants() -> None:
    op.execute(
        """create table mainstay.companies (
             id uuid not null constraint companies_pkey primary key,
             name text not null,
             slug text not null constraint companies_slug_key unique,
             data_region text not null default 'US'
               constraint companies_data_region_check check (data_region in ('US', 'EU', 'APAC')),
             plan text not null default 'free'
               constraint companies_plan_check check (plan in ('free', 'starter', 'growth', 'scale', 'enterprise')),
             created_at timestamptz not null default mainstay.now(),
             updated_at timestamptz not null default mainstay.now()
           )"""
    )
    op.execute("create index companies_created_at_idx on mainstay.companies (created_at)")
    op.execute("create index companies_updated_at_idx on mainstay.companies (updated_at)")
    op.execute(
        """create table mainstay.workspaces (
             id uuid not null constraint workspaces_pkey primary key,
             company_id uuid not null
               constraint workspaces_company_id_fkey references mainstay.companies (id),
             name text not null,
             slug text not null,
             system boolean not null default false,
             created_at timestamptz not null default mainstay.now(),
             constraint workspaces_company_id_slug_key unique (company_id, slug)
           )"""
    )
    op.execute("create unique index workspaces_one_system_idx on mainstay.workspaces (company_id) where system")


def _people() -> None:
    # email_key is the address normalised and case-folded; the check keeps a statement that forgot to from slipping past.
    op.execute(
        """create table mainstay.people (
             id uuid not null constraint people_pkey primary key,
             email text not null,
             email_key text not null constraint people_email_key_key unique
               constraint people_email_key_folded_check check (email_key = lower(email_key collate "C")),
             name text not null,
             password_hash text not null,
             created_at timestamptz not null default mainstay.now(),
             updated_at timestamptz not null default mainstay.now(),
             suspended_at timestamptz
           )"""
    )
    op.execute('create unique index people_email_lower_idx on mainstay.people (lower(email collate "C"))')
    op.execute("create index people_created_at_idx on mainstay.people (created_at)")
    op.execute("create index people_updated_at_idx on mainstay.people (updated_at)")
    op.execute(
        """create table mainstay.memberships (
             company_id uuid not null
               constraint memberships_company_id_fkey references mainstay.companies (id),
             person_id uuid not null
               constraint memberships_person_id_fkey references mainstay.people (id),
             role text not null
               constraint memberships_role_check check (role in ('owner', 'manager', 'staff')),
             created_at timestamptz not null default mainstay.now(),
             constraint memberships_pkey primary key (company_id, person_id)
           )"""
    )
    op.execute("create index memberships_company_id_role_idx on mainstay.memberships (company_id, role)")
    op.execute("create index memberships_person_id_idx on mainstay.memberships (person_id)")


def _keys() -> None:
    op.execute(
        """create table mainstay.api_keys (
             id uuid not null constraint api_keys_pkey primary key,
             company_id uuid not null,
             workspace_id uuid,
             data_region text not null default 'US'
               constraint api_keys_data_region_check check (data_region in ('US', 'EU', 'APAC')),
             kind text not null
               constraint api_keys_kind_check check (kind in ('workspace', 'company')),
             name text not null,
             prefix text not null,
             digest bytea not null constraint api_keys_digest_key unique
               constraint api_keys_digest_length_check check (length(digest) = 32),
             read_only boolean not null default false,
             allow_list text[] not null default '{}',
             expires_at timestamptz,
             created_at timestamptz not null default mainstay.now(),
             created_by jsonb not null,
             revoked_at timestamptz,
             revoked_by jsonb,
             replaces uuid constraint api_keys_replaces_key unique,
             overlap_ends_at timestamptz,
             constraint api_keys_workspace_check check ((kind = 'workspace') = (workspace_id is not null)),
             constraint api_keys_revoked_check check ((revoked_at is null) = (revoked_by is null))
           )"""
    )
    op.execute("create index api_keys_company_id_id_idx on mainstay.api_keys (company_id, id)")
    # One expression and no more volatile than declared, so that the planner writes it into the calling statement.
    op.execute(
        """create function mainstay.key_is_valid(k mainstay.api_keys) returns boolean
           language sql stable parallel safe as $$
             select k.revoked_at is null
                and (k.expires_at is null or k.expires_at > mainstay.now())
                and (k.overlap_ends_at is null or k.overlap_ends_at > mainstay.now())
           $$"""
    )
    op.execute(
        """create table mainstay.api_key_uses (
             key_id uuid not null
               constraint api_key_uses_key_id_fkey references mainstay.api_keys (id) on delete cascade,
             minute timestamptz not null,
             company_id uuid not null,
             uses bigint not null,
             last_used_at timestamptz not null,
             constraint api_key_uses_pkey primary key (key_id, minute)
           )"""
    )
    op.execute("create index api_key_uses_minute_idx on mainstay.api_key_uses (minute)")
    op.execute("create index api_key_uses_company_id_minute_idx on mainstay.api_key_uses (company_id, minute)")
