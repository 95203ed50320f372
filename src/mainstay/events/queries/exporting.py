"""Statements of exports: where chains stand together, and steps of rows that the database writes as they are sent."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from asyncpg.protocol import NO_TIMEOUT
from sqlalchemy import ARRAY, BigInteger, Select, Uuid, and_, cast, column, func, literal, or_, select, tuple_
from sqlalchemy.sql import ColumnElement

from mainstay.events.chain import PARTS, SALT_BYTES
from mainstay.events.queries.lists import Slice
from mainstay.events.tables import events
from mainstay.kernel import telemetry
from mainstay.kernel.db import Connection, Record, Sql, Tx, compose, count_of

Form = Literal["json", "ndjson", "csv"]
Take = Callable[[bytes], Awaitable[None]]
COLUMNS: Final = {
    "id": "id",
    "companyId": "company_id",
    "workspaceId": "workspace_id",
    "projectId": "project_id",
    "action": "action",
    "category": "category",
    "actorId": "actor_id",
    "actorEmail": "actor_email",
    "actorName": "actor_name",
    "targetId": "target_id",
    "targetType": "target_type",
    "payload": "payload",
    "metadata": "metadata",
    "changes": "changes",
    "traceId": "trace_id",
    "dataRegion": "data_region",
    "occurredAt": "occurred_at",
    "createdAt": "received_at",
    "receivedAt": "received_at",
    "seq": "seq",
    "prevHash": "prev_hash",
    "hash": "hash",
    "archived": "archived",
    "archivalCandidate": "archival_candidate",
}
"""The members of an exported event in their order, and the columns that they come from."""
RISKY: Final = "=+-@\t\r\n'＝＋－＠"  # noqa: RUF001 - the wide forms are meant
"""A text in CSV that begins with one of these gets an apostrophe in front, so that no spreadsheet calculates it."""
ROW_MARK: Final = "\x03"
"""What stands before the end of each row of CSV when it leaves the database, and else inside quoted fields alone."""
_FREE = ("project_id", "action", "category", "actor_id", "actor_email", "actor_name", "target_id", "target_type")
_BODIES = ("payload", "metadata", "changes")
_JSON_OPTIONS: Final[dict[str, Any]] = {"format": "csv", "quote": "\x01", "delimiter": "\x02"}
_OPTIONS: Final[dict[Form, dict[str, Any]]] = {
    "json": _JSON_OPTIONS,
    "ndjson": _JSON_OPTIONS,
    "csv": {"format": "csv", "force_quote": list(_FREE)},
}
_COPY_SECONDS: Final = 60
_ISO = """to_char({} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_HEADS = Sql(
    "events.export_heads",
    """select coalesce(sum(seq), 0)::bigint as events, max(received_at) filter (where seq > 0) as last_at,
              array_agg(workspace_id) filter (where seq > 0 and received_at >= $2) as workspaces,
              array_agg(seq) filter (where seq > 0 and received_at >= $2) as seqs
         from mainstay.chain_heads where company_id = $1""",
)
_PLACEHOLDER = re.compile(r"\$(\d+)")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_ ")


@dataclass(frozen=True, slots=True)
class Heads:
    """How far a company's chains reached at one moment: events in all, the newest one's time, and the recent heads."""

    events: int
    last_at: datetime | None
    workspaces: Sequence[str]
    seqs: Sequence[int]


async def heads_of(connection: Connection, company_id: str, *, since: datetime) -> Heads:
    """All chains of the company at one moment; of the heads those that moved at that time or later."""
    row = await connection.row(_HEADS, company_id, since)
    assert row is not None
    return Heads(row["events"], row["last_at"], [str(one) for one in row["workspaces"] or ()], row["seqs"] or ())


async def find_edge_everywhere(connection: Connection, wanted: Slice, *, width: int) -> Record | None:
    """Where the slice's event of that number stands in its order, before any filter; None where there are fewer."""
    keys = (events.c.received_at, events.c.workspace_id, events.c.seq)
    edge = wanted.in_order(select(*keys)).offset(width - 1).limit(1)
    return await connection.row(*compose("events.export_edge", edge))


async def has_more_than_everywhere(connection: Connection, wanted: Slice, rows: int) -> bool:
    """Whether the slice has more events than that which match and are not archived."""
    probe = _matching(wanted, literal(1)).offset(rows).limit(1)
    return await connection.value(*compose("events.export_probe", probe)) is not None


async def copy_rows_everywhere(
    tx: Tx, wanted: Slice, form: Form, take: Take, *, with_proof: bool = False, most_rows: int | None = None
) -> int:
    """Up to so many events of the slice that are not archived went to `take`, in order and in whole rows; how many."""
    found = _matching(wanted, events)
    sql, *args = compose("events.export", found if most_rows is None else found.limit(most_rows))
    written = _csv_row() if form == "csv" else _json_row(with_proof=with_proof, comma=form == "json")
    timed = f"select *, {_ISO.format('received_at')} as received_text"
    # `offset 0` keeps the planner from writing the time's expression wherever it is used.
    statement = f"select {written} from ({timed} from ({inline(sql.text, args)}) f offset 0) e"  # noqa: S608
    started = time.perf_counter()
    # One limit over all: with one of the driver's own, each piece that comes in would have a task and a timer.
    async with asyncio.timeout(_COPY_SECONDS):
        tag: str = await tx.connection.copy_from_query(statement, output=take, timeout=NO_TIMEOUT, **_OPTIONS[form])
    telemetry.observe_query(sql.name, time.perf_counter() - started)
    return count_of(tag)


def seqs_up_to(seq: int) -> ColumnElement[bool]:
    """This seq and those before it."""
    return events.c.seq <= seq


def stored_from(moment: datetime) -> ColumnElement[bool]:
    """What was stored at that moment or later."""
    return events.c.received_at >= moment


def up_to(edge: Record) -> ColumnElement[bool]:
    """That position of a company's list and what comes before it, oldest first."""
    moment = edge["received_at"]
    here, there = tuple_(events.c.workspace_id, events.c.seq), tuple_(edge["workspace_id"], edge["seq"])
    return and_(events.c.received_at <= moment, or_(events.c.received_at < moment, here <= there))


def within(heads: Heads) -> ColumnElement[bool]:
    """What the recent heads of that moment cover."""
    arrays = cast(heads.workspaces, ARRAY(Uuid(as_uuid=False))), cast(heads.seqs, ARRAY(BigInteger))
    pairs = func.unnest(*arrays).table_valued(column("workspace_id"), column("seq")).render_derived()
    covered = and_(pairs.c.workspace_id == events.c.workspace_id, events.c.seq <= pairs.c.seq)
    return select(literal(1)).select_from(pairs).where(covered).exists()


def either(groups: Sequence[Sequence[ColumnElement[bool]]]) -> list[ColumnElement[bool]]:
    """What meets all conditions of one of the groups."""
    return [or_(*(and_(*group) for group in groups))]


def inline(statement: str, args: Sequence[Any]) -> str:
    """The statement with its numbered parameters written into it, for COPY, which takes none."""
    return _PLACEHOLDER.sub(lambda found: written_literal(args[int(found[1]) - 1]), statement)


def written_literal(value: Any) -> str:
    """A value as SQL; of a text only letters, digits and blanks stand for themselves, on any server."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"'{value}'"
    if isinstance(value, datetime):
        return written_literal(value.isoformat())
    if isinstance(value, list | tuple):
        return f"array[{', '.join(map(written_literal, value))}]"
    return "E'" + "".join(one if one in _PLAIN else f"\\U{ord(one):08x}" for one in str(value)) + "'"


def _matching(wanted: Slice, columns: Any) -> Select[Any]:
    found = wanted.in_order(select(columns)).where(events.c.archived.is_(False))
    return found.where(*wanted.matches(events.c))


def _json_row(*, with_proof: bool, comma: bool) -> str:
    """The flat shape of an event as one text, member by member."""
    parts = ["',{'" if comma else "'{'"]
    for number, (name, source) in enumerate(COLUMNS.items()):
        parts += [f"""'{"," if number else ""}"{name}":'""", _json_value(name, source)]
    if with_proof:
        parts += ["',\"proof\":'", _json_proof()]
    return _joined(_merged([*parts, "'}'"])) + " as line"


def _json_value(name: str, source: str) -> str:
    if source == "received_at":
        return "'\"' || received_text || '\"'"
    if name == "occurredAt":
        return f"'\"' || {_ISO.format(source)} || '\"'"
    if source in _BODIES:
        return f"coalesce({source}, 'null')"
    if source in _FREE:
        return f"coalesce(to_json({source})::text, 'null')"
    if source in ("prev_hash", "hash"):
        return f"'\"' || encode({source}, 'hex') || '\"'"
    if source in ("seq", "archived", "archival_candidate"):
        return f"{source}::text"
    return f"'\"' || {source} || '\"'"


def _json_proof() -> str:
    every, left = [], []
    for number, part in enumerate(PARTS):
        salt = f"encode(substr(salts, {number * SALT_BYTES + 1}, {SALT_BYTES}), 'hex')"
        every.append(f"""'{"," if number else "{"}"{part}":"' || {salt} || '"'""")
        left.append(f"""case when digests ? '{part}' then '' else ',"{part}":"' || {salt} || '"' end""")
    some = f"'{{' || substr({' || '.join(left)}, 2) || '}}'"
    written = f"""case when salts is null then '{{}}' when digests is null then {" || ".join(every)} || '}}'
                       else {some} end"""
    digests = "coalesce(',\"digests\":' || digests::text, '')"
    return f"""'{{"v":' || hash_version || ',"salts":' || {written} || {digests} || '}}'"""


def _csv_row() -> str:
    """The same members as columns, a mark behind the last."""
    values = [(_csv_value(name, source), _csv_name(name, source)) for name, source in COLUMNS.items()]
    last, named = values.pop()
    values.append((f"{last} || {written_literal(ROW_MARK)}", named))
    return ", ".join(f'{value} as "{name}"' for value, name in values)


def _csv_name(name: str, source: str) -> str:
    return source if source in _FREE else name


def _csv_value(name: str, source: str) -> str:
    if source == "received_at":
        return "received_text"
    if name == "occurredAt":
        return _ISO.format(source)
    if source in _FREE:
        risky = written_literal(RISKY)
        return f"case when strpos({risky}, left({source}, 1)) > 0 then '''' || {source} else {source} end"
    if source in ("prev_hash", "hash"):
        return f"encode({source}, 'hex')"
    return f"{source}::text"


def _merged(parts: Sequence[str]) -> list[str]:
    """Neighbours that are both plain constants as one."""
    found: list[str] = []
    for part in parts:
        if found and _is_constant(found[-1]) and _is_constant(part):
            found[-1] = found[-1][:-1] + part[1:]
        else:
            found.append(part)
    return found


def _is_constant(part: str) -> bool:
    return part[0] == part[-1] == "'" and "'" not in part[1:-1]


def _joined(parts: Sequence[str]) -> str:
    """The parts one after another, put together in halves: each byte is then copied a few times, not once a part."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_joined(parts[:half])} || {_joined(parts[half:])})"
