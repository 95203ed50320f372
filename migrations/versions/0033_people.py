"""What sign-in, members and limits of people keep: on sessions, people, memberships and companies, all with defaults.

Locks: ACCESS EXCLUSIVE on sessions, people, memberships and companies for moments, none of them is rewritten. Staff
keep what they could see until now: one UPDATE of their memberships.
"""

from alembic import op

revision = "0033"
down_revision = "0032"


def upgrade() -> None:
    op.execute(
        """alter table mainstay.sessions
             add column kind text not null default 'console',
             add column address text not null default '',
             add column authenticated_at timestamptz not null default mainstay.now(),
             add column strong_at timestamptz,
             add column refresh_generation integer not null default 0,
             add column refreshed_at timestamptz,
             add column ended_reason text,
             alter column token_hash drop not null,
             add constraint sessions_kind_check check (kind in ('console', 'api')) not valid"""
    )
    op.execute("alter table mainstay.sessions validate constraint sessions_kind_check")
    op.execute(
        """alter table mainstay.people
             add column email_confirmed_at timestamptz,
             add column password_changed_at timestamptz,
             add column mfa_enabled_at timestamptz,
             add column profile jsonb not null default '{}'"""
    )
    op.execute(
        """alter table mainstay.memberships
             add column features text[] not null default '{}',
             add column suspended_at timestamptz,
             add column suspended_by jsonb,
             add column invited_by jsonb,
             add column updated_at timestamptz not null default mainstay.now()"""
    )
    op.execute(
        """update mainstay.memberships set features = '{events,archive,webhooks,streams,templates,usage}'
           where role = 'staff'"""
    )
    op.execute(
        """alter table mainstay.companies
             add column mfa_required_from timestamptz,
             add column session_idle_minutes integer,
             add column session_lifetime_hours integer,
             add constraint companies_session_idle_minutes_check check (session_idle_minutes between 5 and 720) not valid,
             add constraint companies_session_lifetime_hours_check check (session_lifetime_hours between 1 and 720) not valid"""
    )
    op.execute("alter table mainstay.companies validate constraint companies_session_idle_minutes_check")
    op.execute("alter table mainstay.companies validate constraint companies_session_lifetime_hours_check")
