"""What a template asks of an event, and which of it an event breaks. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import msgspec
import orjson
from msgspec import Meta

from mainstay.kernel.errors import Fault, Invalid

Mode = Literal["enforce", "flag"]
ActorField = Literal["id", "email", "name"]
Key = Annotated[str, Meta(min_length=1, max_length=128)]
Category = Annotated[str, Meta(min_length=1, max_length=128)]
Pattern = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=128,
        pattern=r"^(\*|[A-Za-z0-9_:-]+(\.[A-Za-z0-9_:-]+)*(\.\*)?)$(?!\n)",
    ),
]

METADATA_KEYS_AT_MOST: Final = 50
CATEGORIES_AT_MOST: Final = 50
RETENTION_DAYS_AT_MOST: Final = 36_500
FAULTS_AT_MOST: Final = 20
"""How many breaches of one event are told and kept."""


class Rules(msgspec.Struct, kw_only=True, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The rules of a template; each one that is left out asks for nothing.

    A default category is named by action: `invoice.paid`, `invoice.*` for all below, `*` for every other.
    """

    required_actor_fields: Annotated[list[ActorField], Meta(max_length=3)] = []
    required_metadata_keys: Annotated[list[Key], Meta(max_length=METADATA_KEYS_AT_MOST)] = []
    default_categories: Annotated[dict[Pattern, Category], Meta(max_length=CATEGORIES_AT_MOST)] = {}
    retention_days: Annotated[int, Meta(ge=1, le=RETENTION_DAYS_AT_MOST)] | None = None
    project_required: bool = False


@dataclass(slots=True)
class Facts:
    """An event as the rules see it; the parts are JSON text."""

    action: str
    category: str | None = None
    project_id: str | None = None
    actor: Mapping[str, str] = field(default_factory=dict)
    target: Mapping[str, str] = field(default_factory=dict)
    payload: bytes | str | None = None
    metadata: bytes | str | None = None
    changes: bytes | str | None = None


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken rule; `pointer` is a path below the event, such as `/actor/email`."""

    rule: str
    pointer: str
    detail: str


def check_rules(rules: Rules) -> None:
    """Passes rules that can be kept; Invalid for fields and keys named twice, and for the character NUL."""
    faults = []
    for name, values in (
        ("requiredActorFields", rules.required_actor_fields),
        ("requiredMetadataKeys", rules.required_metadata_keys),
    ):
        seen: set[str] = set()
        for index, value in enumerate(values):
            if value in seen:
                faults.append(Fault("is named twice", f"#/rules/{name}/{index}"))
            if "\0" in value:
                faults.append(Fault("must not hold the character NUL", f"#/rules/{name}/{index}"))
            seen.add(value)
    for pattern, category in rules.default_categories.items():
        if "\0" in category:
            faults.append(Fault("must not hold the character NUL", f"#/rules/defaultCategories/{pattern}"))
    if faults:
        raise Invalid(faults=faults)


def broken(rules: Rules, event: Facts) -> list[Breach]:
    """Every rule that the event breaks, in the order of the rules."""
    found = [
        Breach("requiredActorFields", f"/actor/{name}", f"the actor's {name} is required")
        for name in rules.required_actor_fields
        if not event.actor.get(name)
    ]
    if rules.required_metadata_keys:
        metadata = orjson.loads(event.metadata) if event.metadata else {}
        found += [
            Breach("requiredMetadataKeys", f"/metadata/{escaped(key)}", "this metadata key is required")
            for key in rules.required_metadata_keys
            if metadata.get(key) is None
        ]
    if rules.project_required and not event.project_id:
        found.append(Breach("projectRequired", "/projectId", "a project is required"))
    return found


def default_category(every: Iterable[Rules], action: str) -> str | None:
    """The category that the rules give an event without one: of the first rules that have one, the closest pattern."""
    for rules in every:
        if rules.default_categories:
            for pattern in _patterns_of(action):
                if pattern in rules.default_categories:
                    return rules.default_categories[pattern]
    return None


def retention_of(every: Iterable[Rules]) -> int | None:
    """The days that the rules keep events for: the longest of them, None where none says so."""
    return max((rules.retention_days for rules in every if rules.retention_days is not None), default=None)


def escaped(step: Any) -> str:
    """A member's name as a step of a JSON pointer."""
    return str(step).replace("~", "~0").replace("/", "~1")


def _patterns_of(action: str) -> Iterable[str]:
    yield action
    parts = action.split(".")
    for length in range(len(parts) - 1, 0, -1):
        yield ".".join(parts[:length]) + ".*"
    yield "*"
