"""What goes to a destination: one event in the form of its stream, with what the destinations need to frame it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

import orjson

from mainstay import events
from mainstay.streams import ocsf

Form = Literal["native", "ocsf"]


@dataclass(frozen=True, slots=True)
class Sendable:
    """One event as it is sent; `body` is a JSON object."""

    id: str
    workspace_id: str
    action: str
    occurred_at: datetime
    received_at: datetime
    body: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that go out together. The same events of the same stream make the same id, whoever sends them again."""

    stream_id: str
    events: Sequence[Sendable]

    @property
    def id(self) -> str:
        """The id under which a receiver knows the batch again."""
        return str(uuid5(NAMESPACE_URL, "/".join((self.stream_id, *(event.id for event in self.events)))))


def render(row: Mapping[str, Any], form: Form) -> Sendable:
    """The event in that form."""
    body = events.flat(row) if form == "native" else orjson.dumps(ocsf.api_activity(row))
    return Sendable(
        str(row["id"]), str(row["workspace_id"]), row["action"], row["occurred_at"], row["received_at"], body
    )


def wants(wanted: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether the stream's filter passes the event."""
    actions, categories, workspaces = (wanted.get(name) for name in ("actions", "categories", "workspaceIds"))
    return (
        (not actions or any(_matches(pattern, row["action"]) for pattern in actions))
        and (not categories or row["category"] in categories)
        and (not workspaces or str(row["workspace_id"]) in workspaces)
    )


def _matches(pattern: str, action: str) -> bool:
    """A pattern is an action, or one that ends in `.*` and stands for all below it."""
    return action.startswith(pattern[:-1]) if pattern.endswith(".*") else action == pattern
