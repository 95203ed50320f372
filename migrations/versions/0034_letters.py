"""Letters that wait for a sender, and links that are good once.

Locks: SHARE ROW EXCLUSIVE on people and companies for moments, for the new foreign keys; both tables are new.
"""

from alembic import op

revision = "0034"
down_revision = "0033"


def upgrade() -> None:
    op.execute(
        """create table mainstay.letters (
             id uuid not null,
             kind text not null,
             recipient text not null,
             person_id uuid,
             company_id uuid,
             data bytea not null,
             created_at timestamptz not null default mainstay.now(),
             expires_at timestamptz,
             constraint letters_pkey primary key (id),
             constraint letters_person_id_fkey foreign key (person_id) references mainstay.people (id) on delete cascade,
             constraint letters_company_id_fkey
               foreign key (company_id) references mainstay.companies (id) on delete cascade,
             constraint letters_recipient_length_check check (length(recipient) between 3 and 254)
           )"""
    )
    op.execute("create index letters_created_at_idx on mainstay.letters (created_at)")
    op.execute("create index letters_person_id_idx on mainstay.letters (person_id)")
    op.execute("create index letters_company_id_idx on mainstay.letters (company_id)")
    op.execute(
        """create table mainstay.one_time_links (
             digest bytea not null,
             purpose text not null,
             subject uuid not null,
             person_id uuid,
             company_id uuid,
             data jsonb not null default '{}',
             created_at timestamptz not null default mainstay.now(),
             expires_at timestamptz not null,
             used_at timestamptz,
             constraint one_time_links_pkey primary key (digest),
             constraint one_time_links_person_id_fkey
               foreign key (person_id) references mainstay.people (id) on delete cascade,
             constraint one_time_links_company_id_fkey
               foreign key (company_id) references mainstay.companies (id) on delete cascade,
             constraint one_time_links_digest_length_check check (length(digest) = 32)
           )"""
    )
    op.execute(
        "create unique index one_time_links_open_idx on mainstay.one_time_links (purpose, subject) where used_at is null"
    )
    op.execute("create index one_time_links_expires_at_idx on mainstay.one_time_links (expires_at)")
    op.execute("create index one_time_links_person_id_idx on mainstay.one_time_links (person_id)")
    op.execute("create index one_time_links_company_id_idx on mainstay.one_time_links (company_id)")
