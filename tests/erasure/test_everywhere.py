"""The person is planted in every column of text that the database has, and is gone from all but those named here."""

from collections.abc import Iterator
from typing import Any

from mainstay.kernel import ids
from mainstay.kernel.db import Connection, Sql
from tests.architecture.sources import declared_tables
from tests.erasure.conftest import ADA, Erasing

# Each of these says why a text in it is no copy of what an event holds. Everything else is planted.
ITS_OWN_WAY = {"events": "by the eraser, which test_erasing shows"}
SET_UP_BY_PEOPLE = {
    "api_keys", "endpoints", "event_schema_versions", "event_schemas", "event_types", "templates", "threshold_targets",
    "thresholds", "alert_sends", "streams.name", "streams.destination", "streams.filter",
    "template_reports.template_name", "template_reports.rule", "template_reports.pointer",
    "company_jobs.created_by", "erasures.requested_by", "legal_holds.set_by", "legal_holds.lifted_by",
    "replays.created_by", "queues.paused_by", "queues.concurrency_by", "workers", "bulk_acts", "test_runs",
    "kind_pauses", "schedule_jobs.asked_by", "function_steps.condition", "function_apps",
}  # fmt: skip
# Words, names and numbers of our own making, ids of traces, actions and categories, which the chain holds in plain.
OUR_WORDS = {
    "announcements.name", "announcements.trace_id", "archive_days.data_region",
    "archive_days.outcome", "attempts.outcome", "attempts.address", "attempts.worker", "attempt_batches",
    "checkpoints.note", "company_jobs.type", "company_jobs.status", "company_jobs.data_region", "company_jobs.object",
    "deliveries.status", "emitted_events.trace_id", "emitted_events.reason", "erasures.state", "erasures.parts",
    "erased_events.parts", "job_attempts.outcome",
    "job_attempts.queue", "job_attempts.kind", "legal_holds.scope", "made_once", "messages.type", "messages.trace_id",
    "meter_caps", "meter_counts", "migrations",
    "queue_minutes", "queue_tallies", "queues.name",
    "replays.scope", "replays.state", "schedule_runs", "signing_keys", "stream_positions", "streams.form",
    "streams.on_refusal", "streams.blocked",
    "streams.state", "streams.backfill_state", "threshold_alerts", "usage_snapshots",
    "jobs.queue", "jobs.kind", "jobs.lane", "jobs.state", "jobs.trace_id", "jobs.dedupe_key", "jobs.backoff",
    "dead_jobs.queue", "dead_jobs.kind", "dead_jobs.lane", "dead_jobs.reason", "dead_jobs.trace_id",
    "dead_jobs.dedupe_key", "dead_jobs.backoff", "finished_jobs.queue", "finished_jobs.kind", "finished_jobs.lane",
    "finished_jobs.outcome", "finished_jobs.trace_id", "job_kinds", "kind_minutes", "schedules", "system_figures",
    "schedule_jobs.schedule", "schedule_jobs.outcome", "function_runs.state", "function_runs.function_id",
    "function_runs.event_name", "function_runs.parent_step", "function_steps.step_id", "function_steps.kind",
    "function_steps.state", "function_steps.event_name", "function_steps.match_path",
}  # fmt: skip
# Where the company's own programs call from with its keys: no actor of an event is known by these.
OF_KEYS = {"api_key_addresses", "api_key_refusals", "api_key_uses"}
# What a function's limits and gathering go by. It goes with the runs that it holds, or when its time has come.
OF_A_WHILE = {"function_gathers", "function_holds", "function_keys", "function_paces", "function_runs.limits"}
_COLUMNS = Sql(
    "t",
    """select c.relname as table, a.attname as column, format_type(a.atttypid, null) as type,
              a.attnotnull and not a.atthasdef and a.attidentity = '' as needed
         from pg_class c join pg_attribute a on a.attrelid = c.oid
        where c.relnamespace = 'mainstay'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
          and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' order by 1, a.attnum""",
)
_TEXTS = {
    "text": "'{0}'",
    "character varying": "'{0}'",
    "jsonb": '\'{{"of": ["{0}"]}}\'',
    "json": '\'{{"of": ["{0}"]}}\'',
    "text[]": "'{{{0}}}'",
}
_OTHERS = {
    "bigint": "900001", "integer": "7", "smallint": "7",
    "timestamp with time zone": "mainstay.now()", "date": "current_date", "boolean": "false", "bytea": "'x'",
    "bigint[]": "'{}'", "integer[]": "'{}'", "double precision": "1", "interval": "'1 s'",
}  # fmt: skip
# One id for all: so the planted delivery is that of the planted attempt.
_ID = ids.new_id()


def _is_excused(table: str, column: str) -> bool:
    at_home = table in _AT_HOME or table in ITS_OWN_WAY
    return at_home or bool({table, f"{table}.{column}"} & (SET_UP_BY_PEOPLE | OUR_WORDS | OF_KEYS | OF_A_WHILE))


# No event is in a home table: tests/regions shows it with two databases.
_AT_HOME = {table.name for table in declared_tables() if table.info["scope"] == "home"}


async def _columns(db: Connection) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in await db.rows(_COLUMNS):
        found.setdefault(row["table"], []).append(row)
    return found


def _values(table: str, columns: list[Any], company_id: str) -> Iterator[tuple[str, str]]:
    for column in columns:
        name, kind = column["column"], column["type"]
        if name == "company_id":
            yield name, f"'{company_id}'"
        elif kind in _TEXTS and not _is_excused(table, name):
            yield name, _TEXTS[kind].format(ADA["id"])
        elif kind == "uuid":
            yield name, f"'{_ID}'"
        elif column["needed"] or kind == "timestamp with time zone":
            yield name, _TEXTS.get(kind, _OTHERS.get(kind, "")).format("x")


async def _standing(db: Connection, columns: list[str]) -> list[str]:
    """The columns in which the person stands."""
    found = []
    for one in columns:
        table, name = one.split(".")
        ask = Sql("t", f"select exists (select from mainstay.{table} t where strpos(t.{name}::text, $1) > 0)")
        if await db.value(ask, ADA["id"]):
            found.append(one)
    return found


async def test_a_person_in_any_column_of_any_table_is_gone(erasing_site: Erasing) -> None:
    tenancy = await erasing_site.site.company()
    await erasing_site.send(tenancy, [{"action": "a", "actor": ADA}])
    tables = await _columns(erasing_site.db)
    known = {*tables, *(f"{table}.{one['column']}" for table, columns in tables.items() for one in columns)}
    assert {*SET_UP_BY_PEOPLE, *ITS_OWN_WAY, *OUR_WORDS, *OF_KEYS, *OF_A_WHILE} <= known
    planted = set()
    async with erasing_site.db.begin() as tx:
        # Rows that no code would write: neither checks, nor keys of other tables, nor triggers ask about them.
        await tx.run(Sql("t", "set local session_replication_role = replica"))
        checks = """select conrelid::regclass::text as name, conname from pg_constraint
                     where connamespace = 'mainstay'::regnamespace and contype = 'c' and coninhcount = 0"""
        for row in await tx.rows(Sql("t", checks)):
            await tx.run(Sql("t", f'alter table {row["name"]} drop constraint "{row["conname"]}"'))
        for table, columns in tables.items():
            if any(one["type"] in _TEXTS and not _is_excused(table, one["column"]) for one in columns):
                given = dict(_values(table, columns, tenancy.company_id))
                into = f"insert into mainstay.{table} ({', '.join(given)}) values ({', '.join(given.values())})"
                await tx.run(Sql("t", into))
                planted.add(table)
    assert {"messages", "jobs", "attempts", "job_attempts", "saved_filters", "event_flags"} <= planted
    everywhere = [
        f"{table}.{one['column']}"
        for table in planted
        for one in tables[table]
        if one["type"] in _TEXTS and not _is_excused(table, one["column"])
    ]
    assert sorted(await _standing(erasing_site.db, everywhere)) == sorted(everywhere)
    done = await erasing_site.erase(tenancy)
    assert done["state"] == "completed", done
    left = await _standing(erasing_site.db, everywhere)
    assert left == [], " ".join(left)
    assert await erasing_site.places_of() == []
    assert await erasing_site.db.value(Sql("t", "select count(*) from mainstay.saved_filters")) == 0
    assert (await erasing_site.verdict(tenancy)).ok


async def test_saved_filters_that_name_the_person_go_and_others_stay(erasing_site: Erasing) -> None:
    tenancy, stranger = await erasing_site.site.company(), await erasing_site.site.company()
    save = Sql(
        "t",
        """insert into mainstay.saved_filters (id, company_id, person_id, name, filters)
           values (gen_random_uuid(), $1, gen_random_uuid(), $2, $3)""",
    )
    for company in (tenancy, stranger):
        # Both of one name if the person were written over.
        await erasing_site.db.run(save, company.company_id, "Ada Lovelace", '{"action": "a"}')
        await erasing_site.db.run(save, company.company_id, "user-ada-7", '{"action": "a"}')
        await erasing_site.db.run(save, company.company_id, "hers", '{"actor": "ADA@example.com"}')
        await erasing_site.db.run(save, company.company_id, "his", '{"actor": "user-ada-77"}')
    assert (await erasing_site.erase(tenancy))["found"]["copies"] == 3
    rows = await erasing_site.db.rows(Sql("t", "select company_id::text, name from mainstay.saved_filters"))
    left = {company.company_id: sorted(row[1] for row in rows if row[0] == company.company_id)
            for company in (tenancy, stranger)}  # fmt: skip
    assert left == {
        tenancy.company_id: ["his"],
        stranger.company_id: ["Ada Lovelace", "hers", "his", "user-ada-7"],
    }
