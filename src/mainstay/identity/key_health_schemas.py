"""How the use of a key is shown."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from mainstay.identity.key_health import KeyHealth
from mainstay.kernel.clock import iso


class KeyAnswer(BaseModel):
    """An answer about keys; members are written in camel case."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Refusals(KeyAnswer):
    """How often a key was refused: it came from an address outside its list, may only read, or lacks the scope."""

    address: int
    read_only: int
    scope: int


class HealthShown(KeyAnswer):
    """How a key is used: `idle` is one that was used, and not in 90 days. `addresses` are those of the last 30 days, a
    hundred at most, an IPv6 /64 counted as one; refusals are those since the key was made."""

    use: Literal["used", "never_used", "idle"]
    uses_5m: int = Field(alias="uses5m")
    last_used_at: str | None
    last_address: str | None
    addresses: int
    refusals: Refusals
    refused_at: str | None
    refused_address: str | None


def health_shown(health: KeyHealth) -> HealthShown:
    """How a key is used."""
    return HealthShown(
        use=health.use,
        uses5m=health.uses_5m,
        last_used_at=iso_or_none(health.last_used_at),
        last_address=health.last_address,
        addresses=health.addresses,
        refusals=Refusals(**health.refusals),
        refused_at=iso_or_none(health.refused_at),
        refused_address=health.refused_address,
    )


def iso_or_none(moment: datetime | None) -> str | None:
    """The moment as answers show it, if there is one."""
    return None if moment is None else iso(moment)
