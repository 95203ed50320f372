"""What a list of events may be asked for: the filters of a request, as conditions of the statements in `queries`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import or_
from sqlalchemy.sql import ColumnElement

from mainstay.events.intake import parse_time
from mainstay.events.tables import events
from mainstay.kernel.clock import iso
from mainstay.kernel.errors import Fault, Invalid

MAX_FILTER_CHARACTERS = 512
NAMES = (
    "from",
    "to",
    "occurredFrom",
    "occurredTo",
    "action",
    "category",
    "actorId",
    "actorEmail",
    "targetId",
    "projectId",
    "text",
)
"""What a request calls the filters."""
DESCRIBED = [{"name": name, "in": "query", "required": False, "schema": {"type": "string"}} for name in NAMES]
"""The same for an OpenAPI document."""
_EXACT = {
    "action": "action",
    "category": "category",
    "actorId": "actor_id",
    "actorEmail": "actor_email",
    "targetId": "target_id",
    "projectId": "project_id",
}
_SEARCHED = (
    "action",
    "actor_id",
    "actor_email",
    "actor_name",
    "target_id",
    "target_type",
    "payload",
    "metadata",
    "changes",
)
LEADS = ("actorId", "action", "category")
"""Filters with an index in a workspace, those first that as a rule find the fewest events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What a list is asked for. `from`/`to` bound createdAt, `occurredFrom`/`occurredTo` occurredAt, both inclusive."""

    since: datetime | None = None
    until: datetime | None = None
    occurred_since: datetime | None = None
    occurred_until: datetime | None = None
    exact: dict[str, str] = field(default_factory=dict)
    text: str | None = None

    def told(self) -> dict[str, str]:
        """The same by the names of requests."""
        bounds = {
            "from": self.since,
            "to": self.until,
            "occurredFrom": self.occurred_since,
            "occurredTo": self.occurred_until,
        }
        times = {name: iso(at) for name, at in bounds.items() if at is not None}
        return {**times, **self.exact, **({} if self.text is None else {"text": self.text})}

    def bounds(self) -> list[ColumnElement[bool]]:
        """The bounds on createdAt, which the order of a company's list follows."""
        found: list[ColumnElement[bool]] = []
        if self.since:
            found.append(events.c.received_at >= self.since)
        if self.until:
            found.append(events.c.received_at <= self.until)
        return found

    def leads(self) -> list[tuple[str, str]]:
        """The columns that have an index in a workspace, each with its value, as LEADS has them."""
        return [(_EXACT[name], self.exact[name]) for name in LEADS if name in self.exact]

    def matches(self, columns: Any, lead: tuple[str, str] | None = None) -> list[ColumnElement[bool]]:
        """All filters but the one that leads, as conditions on these columns; they are looked for where it leads."""
        exact = {_EXACT[name]: value for name, value in self.exact.items()}
        found = [columns[name] == value for name, value in exact.items() if lead is None or name != lead[0]]
        if self.occurred_since:
            found.append(columns.occurred_at >= self.occurred_since)
        if self.occurred_until:
            found.append(columns.occurred_at <= self.occurred_until)
        if self.text:
            found.append(or_(*(columns[name].icontains(self.text, autoescape=True) for name in _SEARCHED)))
        return found

    def admits(self, event: Mapping[str, Any]) -> bool:
        """Whether one event that was read meets every filter, as the conditions of a statement would find."""
        if any(event[_EXACT[name]] != value for name, value in self.exact.items()):
            return False
        for moment, since, until in (
            (event["received_at"], self.since, self.until),
            (event["occurred_at"], self.occurred_since, self.occurred_until),
        ):
            if (since is not None and moment < since) or (until is not None and moment > until):
                return False
        if self.text is None:
            return True
        text = self.text.lower()
        return any(text in value.lower() for name in _SEARCHED if (value := event[name]) is not None)


def filters_of(query: Any) -> Filters:
    """The filters of query parameters; Invalid names each that is wrong."""
    faults: list[Fault] = []

    def time_of(name: str) -> datetime | None:
        text = query.get(name)
        if text is None:
            return None
        moment = parse_time(text + "T00:00:00Z" if len(text) == 10 else text)
        if moment is None:
            faults.append(Fault("must be a date or a time with a zone such as 2026-01-02T03:04:05Z", name))
        return moment

    exact = {name: query[name] for name in _EXACT if name in query}
    for name, value in (*exact.items(), ("text", query.get("text"))):
        if value is not None and (not 1 <= len(value) <= MAX_FILTER_CHARACTERS or "\0" in value):
            faults.append(Fault(f"must have 1 to {MAX_FILTER_CHARACTERS} characters, none of them NUL", name))
    found = Filters(
        since=time_of("from"),
        until=time_of("to"),
        occurred_since=time_of("occurredFrom"),
        occurred_until=time_of("occurredTo"),
        exact=exact,
        text=query.get("text"),
    )
    if found.since and found.until and found.since > found.until:
        faults.append(Fault("must not lie after 'to'", "from"))
    if faults:
        raise Invalid(faults=faults)
    return found
