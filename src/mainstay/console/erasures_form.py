"""The forms of erasures and holds: what was typed, what it means, and what is wrong in which field. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mainstay.kernel.errors import Fault

PARTS: Mapping[str, str] = {
    "actor": "Actor", "target": "Target", "payload": "Payload", "metadata": "Metadata", "changes": "Changes",
}  # fmt: skip
SCOPES: Mapping[str, str] = {"company": "The whole company", "workspace": "One workspace", "subject": "One person"}
BLANK: Mapping[str, str] = {"actorId": "", "actorEmail": "", "alsoKnownAs": "", "reason": "", "workspaceId": ""}
_ONE_OF_BOTH = "Type an id, an email, or both."


@dataclass(slots=True)
class Draft:
    """The form as it came; `given` is what it means to the room."""

    typed: dict[str, Any]
    given: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    def take_faults(self, faults: Sequence[Fault]) -> None:
        """What was refused stands at the field where it was typed."""
        for fault in faults:
            name, _, inner = fault.pointer.removeprefix("#").lstrip("/").partition("/")
            line = f"Line {int(inner) + 1}: " if name == "alsoKnownAs" and inner.isdigit() else ""
            words = line + fault.detail
            self.wrong.setdefault(name if name in {*BLANK, "parts"} else "actorId", words[:1].upper() + words[1:])


def blank() -> Draft:
    """A form before anything was typed."""
    return Draft({**BLANK, "parts": list(PARTS), "scope": "company"})


def read_person(form: Mapping[str, str], parts: Sequence[str] = (), *, also: bool = True) -> Draft:
    """The form of a person, with further names where it asks for them."""
    draft = _read(form)
    names = [line.strip() for line in draft.typed["alsoKnownAs"].splitlines() if line.strip()] if also else []
    draft.typed["parts"] = list(parts)
    draft.given = _person(draft) | ({"alsoKnownAs": names} if names else {})
    if not {"actorId", "actorEmail"} & set(draft.given):
        draft.wrong["actorId"] = _ONE_OF_BOTH
    return draft


def read_count(form: Mapping[str, str], parts: Sequence[str]) -> Draft:
    """The form of an erasure that is to be counted first: the person, the parts that are ticked, and why."""
    draft = read_person(form, [part for part in PARTS if part in parts])
    draft.given |= {"reason": draft.typed["reason"], "dryRun": True, "parts": draft.typed["parts"]}
    if not draft.typed["parts"]:
        draft.wrong["parts"] = "Tick at least one part."
    _check_reason(draft)
    return draft


def read_hold(form: Mapping[str, str]) -> Draft:
    """The form of a hold: on what, and why."""
    draft = _read(form)
    scope: Literal["company", "workspace", "subject"] | str = form.get("scope", "company")
    draft.typed["scope"] = scope = scope if scope in SCOPES else "company"
    draft.given = {"reason": draft.typed["reason"]}
    if scope == "workspace":
        draft.given["workspaceId"] = draft.typed["workspaceId"]
        if not draft.typed["workspaceId"]:
            draft.wrong["workspaceId"] = "Choose a workspace."
    if scope == "subject":
        draft.given |= _person(draft)
        if not {"actorId", "actorEmail"} & set(draft.given):
            draft.wrong["actorId"] = _ONE_OF_BOTH
    _check_reason(draft)
    return draft


def _read(form: Mapping[str, str]) -> Draft:
    typed = {name: form.get(name, "").replace("\r\n", "\n").strip() for name in BLANK}
    return Draft({**typed, "parts": list(PARTS), "scope": "company"})


def _person(draft: Draft) -> dict[str, Any]:
    return {name: draft.typed[name] for name in ("actorId", "actorEmail") if draft.typed[name]}


def _check_reason(draft: Draft) -> None:
    if not draft.typed["reason"]:
        draft.wrong["reason"] = "Say why: it is recorded for ever. Do not name the person in it."
