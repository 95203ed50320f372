"""Tables of the functions room. All are regional: a run lives where its event was sent."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Sequence,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from mainstay.kernel.db import metadata
from mainstay.kernel.tables import NOW

_TIME = DateTime(timezone=True)
_REGIONAL = {"scope": "regional"}
_ZERO = text("0")
_WAITS = text("state = 'waiting' and event_name is not null")
_NUMBER = Sequence("function_events_seq", metadata=metadata, schema="mainstay")


def _word(name: str, *, nullable: bool = False, **more: object) -> Column[str]:
    return Column(name, Text(collation="C"), nullable=nullable, **more)  # type: ignore[arg-type]


function_runs = Table(
    "function_runs",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("job_id", BigInteger),
    Column("company_id", Uuid),
    Column("event_id", Uuid),
    Column("rerun_of", Uuid),
    Column("parent_id", Uuid),
    Column("created_at", _TIME, nullable=False, server_default=NOW),
    Column("started_at", _TIME),
    Column("ended_at", _TIME),
    Column("epoch", Integer, nullable=False, server_default=_ZERO),
    Column("retries", SmallInteger, nullable=False, server_default=_ZERO),
    Column("seen_steps", SmallInteger, nullable=False, server_default=_ZERO),
    Column("seen_losses", SmallInteger, nullable=False, server_default=_ZERO),
    Column("failures", SmallInteger, nullable=False, server_default=_ZERO),
    Column("is_waiting", Boolean, nullable=False, server_default=text("false")),
    _word("state", server_default=text("'open'")),
    _word("function_id"),
    _word("event_name"),
    _word("parent_step", nullable=True),
    Column("limits", JSON),
    Column("reason", Text),
    Column("input", JSON, nullable=False),
    Column("output", JSON),
    Column("error", JSON),
    Column("unknown_since", _TIME),
    CheckConstraint("state in ('open', 'completed', 'failed', 'cancelled', 'skipped')", name="state"),
    Index("function_runs_function_id_idx", "function_id", "state", "id"),
    Index("function_runs_state_idx", "state", "id"),
    Index(
        "function_runs_event_id_key",
        "event_id",
        "function_id",
        unique=True,
        postgresql_where=text("event_id is not null and rerun_of is null"),
    ),
    info=_REGIONAL,
    postgresql_with={"fillfactor": 80},
)

function_steps = Table(
    "function_steps",
    metadata,
    Column("run_id", Uuid, ForeignKey("mainstay.function_runs.id", ondelete="CASCADE"), primary_key=True),
    _word("step_id", primary_key=True),
    Column("started_at", _TIME, nullable=False, server_default=NOW),
    Column("ended_at", _TIME),
    Column("wake_at", _TIME),
    Column("since", BigInteger),
    Column("place", SmallInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False, server_default=_ZERO),
    _word("kind"),
    _word("state"),
    _word("event_name", nullable=True),
    _word("match_path", nullable=True),
    _word("match_value", nullable=True),
    Column("condition", Text),
    Column("output", JSON),
    Column("error", JSON),
    CheckConstraint("kind in ('run', 'sleep', 'wait', 'send', 'invoke')", name="kind"),
    CheckConstraint("state in ('done', 'retrying', 'failed', 'waiting', 'cancelled')", name="state"),
    Index("function_steps_waits_idx", "event_name", "match_path", "match_value", postgresql_where=_WAITS),
    info=_REGIONAL,
)

function_holds = Table(
    "function_holds",
    metadata,
    _word("limit_key", primary_key=True),
    Column("run_id", Uuid, ForeignKey("mainstay.function_runs.id", ondelete="CASCADE"), primary_key=True),
    Column("size", Integer, nullable=False),
    Column("is_held", Boolean, nullable=False),
    Index("function_holds_line_idx", "limit_key", "is_held", "run_id"),
    Index("function_holds_run_id_idx", "run_id"),
    info=_REGIONAL,
)

function_paces = Table(
    "function_paces",
    metadata,
    _word("pace_key", primary_key=True),
    Column("at", _TIME, nullable=False),
    Column("starts", Integer, nullable=False),
    Column("expires_at", _TIME, nullable=False),
    Index("function_paces_expires_at_idx", "expires_at"),
    info=_REGIONAL,
    postgresql_with={"fillfactor": 70},
)

function_gathers = Table(
    "function_gathers",
    metadata,
    _word("function_id", primary_key=True),
    _word("gather_key", primary_key=True),
    Column("id", Uuid, nullable=False),
    Column("company_id", Uuid),
    Column("opened_at", _TIME, nullable=False, server_default=NOW),
    Column("due_at", _TIME, nullable=False),
    Column("events", ARRAY(JSON), nullable=False),
    info=_REGIONAL,
    postgresql_with={"fillfactor": 70},
)

function_keys = Table(
    "function_keys",
    metadata,
    _word("scope", primary_key=True),
    Column("key_digest", LargeBinary, primary_key=True),
    Column("made_id", Uuid, nullable=False),
    Column("at", _TIME, nullable=False, server_default=NOW),
    Index("function_keys_at_idx", "at"),
    info=_REGIONAL,
)

function_apps = Table(
    "function_apps",
    metadata,
    _word("id", primary_key=True),
    Column("url", Text, nullable=False),
    Column("sdk", Text, nullable=False),
    Column("functions", JSON, nullable=False),
    Column("version", BigInteger, nullable=False, server_default=_NUMBER.next_value()),
    Column("registered_at", _TIME, nullable=False, server_default=NOW),
    info=_REGIONAL,
)
