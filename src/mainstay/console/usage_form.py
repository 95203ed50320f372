"""The form of a threshold: what was typed, what it means, and what is wrong in which field. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mainstay.kernel.errors import Fault

BLANK: Mapping[str, str] = {"kind": "soft", "unit": "percentage", "amount": "", "targets": ""}
MOST_DIGITS = 13
_SLACK = "https://hooks.slack.com/"


@dataclass(slots=True)
class Draft:
    """The form as it came; `given` is what it means."""

    typed: dict[str, str]
    given: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    def take_faults(self, faults: Sequence[Fault]) -> None:
        """What was refused stands at the field where it was typed."""
        for fault in faults:
            name, _, inner = fault.pointer.removeprefix("#/").partition("/")
            number = inner.partition("/")[0]
            line = f"Line {int(number) + 1}: " if number.isdigit() else ""
            self.wrong.setdefault(name if name in BLANK else "amount", f"{line}{fault.detail}")


def read(form: Mapping[str, str]) -> Draft:
    """The form as it came."""
    draft = Draft({name: form.get(name, "").strip() or otherwise for name, otherwise in BLANK.items()})
    for name, allowed in (("kind", ("soft", "hard")), ("unit", ("percentage", "absolute"))):
        if draft.typed[name] not in allowed:
            draft.wrong[name] = f"Must be {' or '.join(allowed)}."
    amount = draft.typed["amount"].replace(" ", "").replace("\u202f", "").replace(",", "").removesuffix("%")
    if not (amount.isascii() and amount.isdigit() and len(amount) <= MOST_DIGITS and int(amount) > 0):
        draft.wrong["amount"] = "Must be a whole number of at least 1."
        amount = "1"
    targets = [target_of(line) for line in draft.typed["targets"].splitlines() if line.strip()]
    draft.given = {**draft.typed, "amount": int(amount), "targets": targets}
    return draft


def target_of(line: str) -> dict[str, str]:
    """Where alerts go, told by its looks: an email address, an incoming webhook of Slack, or a URL of one's own."""
    line = line.strip()
    if line.startswith(_SLACK):
        return {"kind": "slack", "to": line}
    return {"kind": "webhook" if "://" in line else "email", "to": line}
