"""Webhooks whole: what an owner may set on an endpoint, its health, its pace and line, replays, pull, types and figures.

Locks: SHARE on messages and its partitions while their new index is built (about a second per million rows): events and
messages wait to be taken in, reading and sending go on. Then, for a moment, ACCESS EXCLUSIVE on endpoints for adding
columns with constant defaults and checks (a company has at most 1,000 rows; the table is small).
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # What takes long comes before what locks more: all locks are held to the end.
    _messages()
    _endpoints()
    _health()
    _pull()
    _catalogue()
    _replays()
    _figures()


def _messages() -> None:
    # Replays of everything since a time, and of what an endpoint never got, walk a company's messages in order.
    op.execute("create index messages_company_id_id_idx on mainstay.messages (company_id, id)")


def _endpoints() -> None:
    op.execute(
        """alter table mainstay.endpoints
             alter column url drop not null,
             add column kind text not null default 'push',
             add column retry_profile text not null default 'standard',
             add column signing text not null default 'hmac',
             add column is_fifo boolean not null default false,
             add column rate_limit_per_second integer,
             add column concurrency smallint,
             add column headers_sealed bytea,
             add column header_names text[] not null default '{}',
             add column trace_context text not null default 'propagate',
             add column payload_version smallint not null default 1,
             add column filter jsonb,
             add column filter_path text,
             drop constraint endpoints_retries_check,
             add constraint endpoints_retries_check check (retries between 0 and 10),
             add constraint endpoints_kind_check check (kind in ('push', 'pull') and (kind = 'push') = (url is not null)),
             add constraint endpoints_retry_profile_check check (retry_profile in ('standard', 'three_days')),
             add constraint endpoints_signing_check check (signing in ('hmac', 'ed25519')),
             add constraint endpoints_rate_limit_check check (rate_limit_per_second between 1 and 10000),
             add constraint endpoints_concurrency_check check (concurrency between 1 and 10),
             add constraint endpoints_trace_context_check check (trace_context in ('propagate', 'restart', 'off')),
             add constraint endpoints_payload_version_check check (payload_version between 1 and 2),
             add constraint endpoints_filter_check check ((filter is null) = (filter_path is null))"""
    )


def _health() -> None:
    op.execute(
        """create table mainstay.endpoint_health (
             endpoint_id uuid not null constraint endpoint_health_pkey primary key,
             company_id uuid not null,
             failures integer not null default 0,
             failing_since timestamptz,
             days smallint not null default 1,
             day_at timestamptz not null default mainstay.now(),
             warned smallint not null default 0,
             trips smallint not null default 0,
             open_until timestamptz,
             updated_at timestamptz not null default mainstay.now()
           ) with (fillfactor = 70)"""
    )
    op.execute(
        """create table mainstay.endpoint_paces (
             endpoint_id uuid not null constraint endpoint_paces_pkey primary key,
             company_id uuid not null,
             next_at timestamptz not null
           ) with (fillfactor = 50)"""
    )
    op.execute(
        """create table mainstay.endpoint_slots (
             job_id bigint not null constraint endpoint_slots_pkey primary key,
             endpoint_id uuid not null,
             company_id uuid not null,
             until timestamptz not null
           )"""
    )
    op.execute("create index endpoint_slots_endpoint_id_idx on mainstay.endpoint_slots (endpoint_id)")
    op.execute(
        """create table mainstay.fifo_lines (
             endpoint_id uuid not null,
             pos bigint not null generated always as identity,
             delivery_id uuid not null,
             company_id uuid not null,
             constraint fifo_lines_pkey primary key (endpoint_id, pos)
           )"""
    )
    op.execute("create index fifo_lines_delivery_id_idx on mainstay.fifo_lines (delivery_id)")


def _pull() -> None:
    # Read in the order of (txid, id) below the oldest transaction still running, so that a late commit is never missed.
    op.execute(
        """create table mainstay.pull_items (
             endpoint_id uuid not null,
             txid bigint not null default pg_current_xact_id()::text::bigint,
             id uuid not null,
             message_id uuid not null,
             company_id uuid not null,
             constraint pull_items_pkey primary key (endpoint_id, txid, id)
           ) partition by range (id)"""
    )


def _catalogue() -> None:
    op.execute(
        """create table mainstay.event_types (
             company_id uuid not null,
             name text not null,
             description text not null default '',
             schema jsonb,
             example jsonb,
             version integer not null default 1,
             deprecated_at timestamptz,
             created_at timestamptz not null default mainstay.now(),
             created_by jsonb not null,
             updated_at timestamptz not null default mainstay.now(),
             constraint event_types_pkey primary key (company_id, name)
           )"""
    )


def _replays() -> None:
    op.execute(
        """create table mainstay.replays (
             id uuid not null constraint replays_pkey primary key,
             company_id uuid not null,
             endpoint_id uuid not null,
             scope text not null,
             wanted jsonb not null,
             state text not null default 'running',
             matched bigint not null default 0,
             is_floor boolean not null default false,
             made bigint not null default 0,
             looked_to uuid,
             created_at timestamptz not null default mainstay.now(),
             created_by jsonb not null,
             finished_at timestamptz,
             error text,
             constraint replays_scope_check check (scope in ('deliveries', 'messages', 'missed')),
             constraint replays_state_check check (state in ('running', 'done', 'cancelled', 'failed'))
           )"""
    )
    op.execute("create index replays_endpoint_id_id_idx on mainstay.replays (endpoint_id, id)")


def _figures() -> None:
    # One row for each recorded batch of tries, folded into the figures every few seconds and then gone.
    op.execute(
        """create table mainstay.attempt_batches (
             id bigint not null generated always as identity constraint attempt_batches_pkey primary key,
             at timestamptz not null default mainstay.now(),
             endpoint_ids uuid[] not null,
             codes smallint[] not null,
             durations_ms integer[] not null
           )"""
    )
    for table in ("endpoint_minutes", "endpoint_hours"):
        op.execute(
            f"""create table mainstay.{table} (
                  company_id uuid not null,
                  endpoint_id uuid not null,
                  bucket timestamptz not null,
                  code smallint not null,
                  attempts bigint not null,
                  latencies bigint[] not null,
                  constraint {table}_pkey primary key (company_id, endpoint_id, bucket, code)
                ) partition by range (bucket)"""
        )
