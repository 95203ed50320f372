"""What the routes take and give."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import UNSET, Meta, UnsetType

from mainstay.kernel.clock import iso
from mainstay.kernel.db import Record
from mainstay.templates.rules import Mode, Rules

SchemaMode = Literal["off", "warn", "enforce"]
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[^\x00]+$")]
Description = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00]*$")]
Action = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_:-]+(\.[A-Za-z0-9_:-]+)*$(?!\n)", min_length=1, max_length=128)]
Id = Annotated[str, Meta(min_length=36, max_length=36)]


class NewTemplate(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What a template is made from."""

    name: Name
    rules: Rules
    mode: Mode = "enforce"
    description: Description | None = None


class TemplateChange(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What may be changed of a template; rules are given whole."""

    name: Name | UnsetType = UNSET
    rules: Rules | UnsetType = UNSET
    mode: Mode | UnsetType = UNSET
    description: Description | None | UnsetType = UNSET


class NewSchema(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What an event schema is made from."""

    action: Action
    schema: dict[str, Any] | bool
    mode: SchemaMode = "enforce"
    description: Description | None = None


class NewOwnSchema(NewSchema, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The same from a person, who may name a workspace; else it is for all of the company's."""

    workspace_id: Id | None = None


class SchemaChange(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What may be changed of an event schema; another `schema` is a new version."""

    schema: dict[str, Any] | bool | UnsetType = UNSET
    mode: SchemaMode | UnsetType = UNSET
    description: Description | None | UnsetType = UNSET


def template_shown(row: Record) -> dict[str, Any]:
    """The template as people read it."""
    return {
        "id": str(row["id"]),
        "name": row["name"],
        "description": row["description"],
        "mode": row["mode"],
        "rules": orjson.loads(row["rules"]),
        "version": row["version"],
        "workspaces": row["workspaces"],
        "createdAt": iso(row["created_at"]),
        "changedAt": iso(row["changed_at"]),
    }


def assignment_shown(row: Record) -> dict[str, Any]:
    """One workspace that has a template."""
    return {"workspaceId": str(row["workspace_id"]), "assignedAt": iso(row["assigned_at"])}


def schema_shown(row: Record, **more: Any) -> dict[str, Any]:
    """The event schema without its text."""
    return {
        "id": str(row["id"]),
        "workspaceId": None if row["workspace_id"] is None else str(row["workspace_id"]),
        "action": row["action"],
        "mode": row["mode"],
        "description": row["description"],
        "version": row["version"],
        "createdAt": iso(row["created_at"]),
        "changedAt": iso(row["changed_at"]),
        **more,
    }


def version_shown(row: Record) -> dict[str, Any]:
    """One version of an event schema."""
    return {
        "version": row["version"],
        "createdBy": orjson.loads(row["created_by"]),
        "createdAt": iso(row["created_at"]),
    }


def report_shown(row: Record) -> dict[str, Any]:
    """What a day's check found of one rule in one workspace."""
    return {
        "id": str(row["id"]),
        "day": row["day"].isoformat(),
        "workspaceId": str(row["workspace_id"]),
        "templateId": str(row["template_id"]),
        "templateName": row["template_name"],
        "templateVersion": row["template_version"],
        "rule": row["rule"],
        "pointer": "#" + row["pointer"],
        "events": row["events"],
        "examples": orjson.loads(row["examples"]),
        "createdAt": iso(row["created_at"]),
    }


def fact_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What an announcement says of a template."""
    rules = orjson.loads(row["rules"])
    return {
        "templateId": str(row["id"]),
        "name": row["name"],
        "mode": row["mode"],
        "version": row["version"],
        "retentionDays": rules["retentionDays"],
    }
