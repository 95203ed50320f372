"""The parts of the service that an installation uses, and which settings each cannot do without. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A part in words, and why it needs each of its settings."""

    title: str
    needs: Mapping[str, str]


EVERYWHERE: Mapping[str, Part] = {
    "core": Part("everything", {"DATABASE_URL": "where all data are kept", "MAINSTAY_SECRET": "seals stored secrets"}),
    "people": Part(
        "people who sign in",
        {"JWT_ACCESS_SECRET": "signs access tokens", "JWT_REFRESH_SECRET": "signs refresh tokens"},
    ),
}
"""What every installation uses."""
PARTS: Mapping[str, Part] = {
    "operators": Part("operators' routes and metrics", {"INTERNAL_TOKEN": "tells operators from everybody else"}),
    "functions": Part(
        "events for functions, and applications that serve some",
        {
            "INNGEST_EVENT_KEY": "lets applications send events",
            "INNGEST_SIGNING_KEY": "signs what passes between functions and applications",
        },
    ),
    "archive": Part("archives outside the database", {"OBJECT_STORE": "where archived days go"}),
}
"""What may be named in the setting PARTS."""


def missing_of(used: Sequence[str], has: Callable[[str], bool]) -> dict[str, list[str]]:
    """The settings that each part which is used lacks, by part; `has` tells whether a setting has a value."""
    parts = {**EVERYWHERE, **{name: PARTS[name] for name in used}}
    lacks = {name: [setting for setting in part.needs if not has(setting)] for name, part in parts.items()}
    return {name: settings for name, settings in lacks.items() if settings}
