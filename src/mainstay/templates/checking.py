"""What ingestion asks: the rules of a workspace, from memory while nothing changes, and what an event breaks."""

import asyncio
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import orjson
from prometheus_client import Counter

from mainstay.kernel.clock import Clock, SystemClock
from mainstay.kernel.db import Connection, Database, Record, Tx
from mainstay.kernel.errors import Fault
from mainstay.kernel.telemetry import REGISTRY
from mainstay.templates.errors import RulesBroken
from mainstay.templates.queries import checking as rows
from mainstay.templates.queries.event_schemas import schemas_in_force
from mainstay.templates.queries.templates import templates_of
from mainstay.templates.rules import FAULTS_AT_MOST, Breach, Facts, Rules, broken, default_category
from mainstay.web import json_checks

FRESH_SECONDS: Final = 1.0
"""The longest that rules hold after they were changed."""
WHOLE_SECONDS: Final = 60.0
CACHED_BYTES: Final = 64 * 1024 * 1024
CHECKS_AT_MOST: Final = 250_000
"""Parts of a schema times values of an event: what one check may cost, some tens of milliseconds."""
SCANNED_AT_MOST: Final = 50_000_000
"""Parts of a schema with patterns times bytes of an event."""
_ENTRY_BYTES: Final = 1_024
REFUSED = Counter(
    "events_refused_by_rules_total", "Events that broke a rule or schema and were refused", registry=REGISTRY
)
FLAGGED = Counter(
    "events_flagged_by_rules_total", "Events that broke a rule or schema and were flagged", registry=REGISTRY
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules make of an event that they let pass: its category (None: they give it none), and its flags."""

    category: str | None
    flags: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Template:
    id: str
    name: str
    enforces: bool
    rules: Rules


class _Schema:
    """One version of an event schema, compiled when it is first used."""

    def __init__(self, row: Record) -> None:
        self.id = str(row["id"])
        self.version: int = row["version"]
        self.text: str = row["schema"]
        self._has_patterns = '"pattern' in self.text
        self._compiled: json_checks.Compiled | None = None

    def broken(self, event: Facts, category: str | None) -> list[tuple[Breach, str]]:
        """Each breach as it is told to the sender, and in words that hold nothing of the event."""
        if self._compiled is None:
            self._compiled = json_checks.compile_schema(orjson.loads(self.text))
        compiled = self._compiled
        size, values = _measure(event)
        if compiled.parts * values > CHECKS_AT_MOST or (self._has_patterns and compiled.parts * size > SCANNED_AT_MOST):
            said = "too large to be checked against its schema"
            return [(Breach("schema", "", said), said)]
        instance = _instance(event, category)
        if compiled.validator.is_valid(instance):
            return []
        told = len(self.text) * values + size * compiled.parts
        errors = json_checks.errors_of(compiled.validator, instance, every=told <= json_checks.TOLD_WHOLE)
        return [_breach_of(error) for error in errors]


@dataclass(frozen=True, slots=True)
class Checks:
    """The templates and schemas of one workspace."""

    templates: Sequence[_Template]
    schemas: Mapping[str, tuple[_Schema, bool]]
    bytes: int = field(default=0)

    def judge(self, event: Facts, under: str = "#") -> Verdict:
        """The event's category and flags; RulesBroken with a fault for each broken rule that is enforced."""
        category = event.category or default_category((one.rules for one in self.templates), event.action)
        faults: list[Fault] = []
        flags: list[dict[str, Any]] = []
        for template in self.templates:
            for breach in broken(template.rules, event):
                if template.enforces:
                    faults.append(Fault(f"{breach.detail} (template {template.name!r})", under + breach.pointer))
                else:
                    flags.append(_flag(breach, breach.detail, {"templateId": template.id}))
        schema, is_enforced = self.schemas.get(event.action, (None, False))
        for breach, plain in schema.broken(event, category) if schema is not None else ():
            if is_enforced:
                faults.append(Fault(f"{breach.detail} (schema of {event.action!r})", under + breach.pointer))
            elif schema is not None:
                flags.append(_flag(breach, plain, {"schemaId": schema.id, "schemaVersion": schema.version}))
        if faults:
            REFUSED.inc()
            raise RulesBroken(faults=faults[:FAULTS_AT_MOST])
        if flags:
            FLAGGED.inc()
        return Verdict(category, flags[:FAULTS_AT_MOST])


class Checker:
    """The rules of the workspaces of one database, no older than a second.

    Once a second, while events come, one statement asks whose rules changed; a workspace of a company without any
    costs no question of its own.
    """

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()
        self._versions: dict[str, int] = {}
        self._fresh_until = self._whole_until = float("-inf")
        self._refreshing: asyncio.Task[None] | None = None
        self._cache: OrderedDict[str, tuple[int, Checks | None]] = OrderedDict()
        self._cached_bytes = 0
        self._loading: dict[str, asyncio.Task[Checks | None]] = {}
        self._schemas: weakref.WeakValueDictionary[tuple[str, int], _Schema] = weakref.WeakValueDictionary()

    async def checks_of(self, company_id: str, workspace_id: str) -> Checks | None:
        """What events of the workspace are checked with; None where nothing is."""
        if self._clock.monotonic() >= self._fresh_until:
            await self._refresh()
        version = self._versions.get(company_id)
        if version is None:
            return None
        known = self._cache.get(workspace_id)
        if known is not None and known[0] == version:
            self._cache.move_to_end(workspace_id)
            return known[1]
        task = self._loading.get(workspace_id)
        if task is None:
            task = self._loading[workspace_id] = asyncio.create_task(self._load(company_id, workspace_id, version))
            task.add_done_callback(lambda _: self._loading.pop(workspace_id, None))
        return await asyncio.shield(task)

    async def _refresh(self) -> None:
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._ask())
            self._refreshing.add_done_callback(lambda _: setattr(self, "_refreshing", None))
        await asyncio.shield(self._refreshing)

    async def _ask(self) -> None:
        asked_at = self._clock.monotonic()
        is_whole = asked_at >= self._whole_until
        found = await rows.marks_everywhere(self._db, all_of_them=is_whole)
        self._versions.update((str(row["company_id"]), row["version"]) for row in found)
        self._fresh_until = asked_at + FRESH_SECONDS
        if is_whole:
            self._whole_until = asked_at + WHOLE_SECONDS

    async def _load(self, company_id: str, workspace_id: str, version: int) -> Checks | None:
        async with self._db.begin(readonly=True) as tx:
            templates = await templates_of(tx, company_id, workspace_id)
            schemas = await schemas_in_force(tx, company_id, workspace_id)
        checks = self._checks_of(templates, schemas) if templates or schemas else None
        self._forget(workspace_id)
        self._cache[workspace_id] = (version, checks)
        self._cached_bytes += _size_of(checks)
        while self._cached_bytes > CACHED_BYTES and len(self._cache) > 1:
            self._forget(next(iter(self._cache)))
        return checks

    def _forget(self, workspace_id: str) -> None:
        known = self._cache.pop(workspace_id, None)
        if known is not None:
            self._cached_bytes -= _size_of(known[1])

    def _checks_of(self, templates: Iterable[Record], schemas: Iterable[Record]) -> Checks:
        ours = [
            _Template(
                str(row["id"]), row["name"], row["mode"] == "enforce", msgspec.json.decode(row["rules"], type=Rules)
            )
            for row in templates
        ]
        theirs = {
            row["action"]: (self._schema_of(row), row["mode"] == "enforce") for row in schemas if row["mode"] != "off"
        }
        return Checks(ours, theirs, sum(len(schema.text) for schema, _ in theirs.values()))

    def _schema_of(self, row: Record) -> _Schema:
        key = (str(row["id"]), row["version"])
        schema = self._schemas.get(key)
        if schema is None:
            schema = self._schemas[key] = _Schema(row)
        return schema


async def keep_flags(tx: Tx, events: Sequence[tuple[str, int, str, Sequence[dict[str, Any]]]]) -> None:
    """Each of the stored events (workspace, seq, company, flags) has its flags, beside what its hash covers."""
    await rows.keep_flags_everywhere(
        tx, [(workspace, seq, company, orjson.dumps(flags).decode()) for workspace, seq, company, flags in events]
    )


async def flags_of(
    db: Connection, company_id: str, places: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The flags of those of the events (workspace, seq) that have any."""
    found = await rows.flags_of(db, company_id, places)
    return {(str(row["workspace_id"]), row["seq"]): orjson.loads(row["flags"]) for row in found}


def _size_of(checks: Checks | None) -> int:
    return _ENTRY_BYTES + (0 if checks is None else checks.bytes)


def _flag(breach: Breach, detail: str, source: dict[str, Any]) -> dict[str, Any]:
    return {"rule": breach.rule, "pointer": "#" + breach.pointer, "detail": detail, **source}


def _measure(event: Facts) -> tuple[int, int]:
    """Bytes of the event's parts, and no fewer than the values that they hold."""
    size, values = 64, 16
    for part in (event.payload, event.metadata, event.changes):
        if part:
            text = part.encode() if isinstance(part, str) else part
            size += len(text)
            values += 1 + text.count(b",") + text.count(b"[") + text.count(b"{")
    return size, values


def _instance(event: Facts, category: str | None) -> dict[str, Any]:
    """The event as a schema sees it: what was sent, with the category that it gets."""
    parts = {name: part for name in ("payload", "metadata", "changes") if (part := getattr(event, name))}
    whole: dict[str, Any] = {
        "action": event.action,
        "category": category,
        "projectId": event.project_id,
        "actor": dict(event.actor) or None,
        "target": dict(event.target) or None,
        **{name: orjson.loads(part) for name, part in parts.items()},
    }
    return {name: value for name, value in whole.items() if value is not None}


def _breach_of(error: Any) -> tuple[Breach, str]:
    pointer = json_checks.pointer_to("", error.instance_path)
    keyword = error.kind.name
    if keyword == "required":
        pointer = json_checks.pointer_to(pointer, [error.kind.property])
    return Breach("schema", pointer, json_checks.cut(error.message)), f"does not satisfy {keyword!r} of the schema"
