"""Requests and answers of the identity room's routes."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from mainstay.identity.companies import Company, Plan, Workspace
from mainstay.identity.key_health import KeyHealth
from mainstay.identity.key_health_schemas import HealthShown, health_shown
from mainstay.identity.keys import ApiKey
from mainstay.kernel.clock import iso
from mainstay.kernel.regions import Region


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class CompanyShown(_Answer):
    """A company."""

    id: str
    name: str
    slug: str
    data_region: Region
    plan: Plan
    created_at: str


class KeyShown(_Answer):
    """The key that asks, what it is narrowed to (null: all), and how it is used."""

    id: str
    name: str
    prefix: str
    read_only: bool
    scopes: list[str] | None
    expires_at: str | None
    last_used_at: str | None
    uses_5m: int = Field(alias="uses5m")
    health: HealthShown


class CompanyOfKey(CompanyShown):
    """The company of the key that asks."""

    key: KeyShown


class WorkspaceShown(_Answer):
    """A workspace; `system` marks the one that holds the acts on the service itself."""

    id: str
    company_id: str
    name: str
    slug: str
    system: bool
    created_at: str


class WorkspaceOfKey(WorkspaceShown):
    """The workspace of the key that asks, with its company's region and plan."""

    data_region: Region
    plan: Plan
    key: KeyShown


class ListMeta(_Answer):
    """Where this page stands; `total` is exact up to 10,000 and a floor where `totalIsExact` is false."""

    limit: int
    total: int
    total_is_exact: bool
    next_cursor: str | None


class WorkspaceList(_Answer):
    """A page of workspaces, oldest first."""

    data: list[WorkspaceShown]
    meta: ListMeta


def company_shown(company: Company) -> CompanyShown:
    """A company as answers show it."""
    return CompanyShown(
        id=company.id,
        name=company.name,
        slug=company.slug,
        data_region=company.data_region,
        plan=company.plan,
        created_at=iso(company.created_at),
    )


def workspace_shown(workspace: Workspace) -> WorkspaceShown:
    """A workspace as answers show it."""
    return WorkspaceShown(
        id=workspace.id,
        company_id=workspace.company_id,
        name=workspace.name,
        slug=workspace.slug,
        system=workspace.system,
        created_at=iso(workspace.created_at),
    )


def key_shown(key: ApiKey, health: KeyHealth) -> KeyShown:
    """A key as the routes that it opens show it."""
    return KeyShown(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        read_only=key.read_only,
        scopes=None if key.scopes is None else list(key.scopes),
        expires_at=_iso_or_none(key.expires_at),
        last_used_at=_iso_or_none(health.last_used_at),
        uses5m=health.uses_5m,
        health=health_shown(health),
    )


def _iso_or_none(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)
