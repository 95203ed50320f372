"""Second factors of people with their recovery codes, and challenges that stand between a password and a session.

Locks: SHARE ROW EXCLUSIVE on people and companies for moments, for the new foreign keys; the tables are new.
"""

from alembic import op

revision = "0037"
down_revision = "0036"


def upgrade() -> None:
    op.execute(
        """create table mainstay.mfa_factors (
             id uuid not null,
             person_id uuid not null,
             secret bytea not null,
             confirmed_at timestamptz,
             last_step bigint,
             last_used_at timestamptz,
             wrong_tries integer not null default 0,
             wrong_since timestamptz,
             wrong_told timestamptz,
             created_at timestamptz not null default mainstay.now(),
             constraint mfa_factors_pkey primary key (id),
             constraint mfa_factors_person_id_key unique (person_id),
             constraint mfa_factors_person_id_fkey
               foreign key (person_id) references mainstay.people (id) on delete cascade
           )"""
    )
    op.execute(
        """create table mainstay.recovery_codes (
             person_id uuid not null,
             digest bytea not null,
             used_at timestamptz,
             constraint recovery_codes_pkey primary key (person_id, digest),
             constraint recovery_codes_person_id_fkey
               foreign key (person_id) references mainstay.people (id) on delete cascade,
             constraint recovery_codes_digest_length_check check (length(digest) = 32)
           )"""
    )
    op.execute(
        """create table mainstay.sign_in_challenges (
             digest bytea not null,
             person_id uuid not null,
             company_id uuid not null,
             via text not null,
             tries integer not null default 0,
             expires_at timestamptz not null,
             used_at timestamptz,
             constraint sign_in_challenges_pkey primary key (digest),
             constraint sign_in_challenges_person_id_fkey
               foreign key (person_id) references mainstay.people (id) on delete cascade,
             constraint sign_in_challenges_company_id_fkey
               foreign key (company_id) references mainstay.companies (id) on delete cascade,
             constraint sign_in_challenges_digest_length_check check (length(digest) = 32)
           )"""
    )
    op.execute("create index sign_in_challenges_person_id_idx on mainstay.sign_in_challenges (person_id)")
    op.execute("create index sign_in_challenges_expires_at_idx on mainstay.sign_in_challenges (expires_at)")
