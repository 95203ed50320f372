"""How values read on a page: states, times, durations, numbers, addresses. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple


class Chip(NamedTuple):
    """A state as people read it: its word, what it means, and the icon that says so without colour."""

    word: str
    meaning: str
    icon: str


_STATES = {
    "waiting": ("waiting", "hourglass"), "delayed": ("waiting", "clock"), "pending": ("waiting", "hourglass"),
    "active": ("good", "circle-dot"), "running": ("accent", "play"), "retrying": ("warning", "rotate-cw"),
    "completed": ("good", "circle-check"), "delivered": ("good", "circle-check"), "resolved": ("good", "circle-check"),
    "dead": ("bad", "skull"), "failed": ("bad", "circle-x"), "failing": ("bad", "circle-x"),
    "disabled": ("bad", "power"), "open": ("warning", "octagon-alert"), "warned": ("warning", "triangle-alert"),
    "acknowledged": ("waiting", "check"), "discarded": ("neutral", "ban"), "inactive": ("neutral", "power"),
    "cancelled": ("neutral", "ban"), "paused": ("warning", "circle-pause"), "blocked": ("warning", "octagon-alert"),
    "ok": ("good", "circle-check"), "late": ("warning", "clock"), "archived": ("good", "circle-check"),
    "sound": ("good", "shield-check"), "damaged": ("bad", "circle-x"), "missing": ("bad", "circle-x"),
    "deleted": ("neutral", "trash-2"), "below": ("neutral", "circle-minus"), "crossed": ("warning", "triangle-alert"),
    "enforce": ("accent", "shield-check"), "flag": ("warning", "triangle-alert"), "warn": ("warning", "triangle-alert"),
    "off": ("neutral", "power"), "sent": ("good", "circle-check"), "recorded": ("neutral", "check"),
    "done": ("good", "circle-check"), "held": ("warning", "lock"), "stands": ("accent", "lock"),
    "queued": ("waiting", "hourglass"), "skipped": ("neutral", "circle-minus"), "parked": ("waiting", "circle-pause"),
    "overlapping": ("warning", "layers"), "suspended": ("bad", "ban"), "accepted": ("good", "circle-check"),
    "withdrawn": ("neutral", "ban"), "invited": ("waiting", "hourglass"), "working": ("good", "circle-check"),
    "ending": ("warning", "clock"), "revoked": ("neutral", "ban"), "enforced": ("good", "shield-check"),
    "shadow": ("waiting", "circle-dot"),
    "lifted": ("neutral", "check"), "counted": ("neutral", "list-checks"), "expired": ("neutral", "clock"),
}  # fmt: skip
_STEPS = ((60, 1, "s"), (3_600, 60, "min"), (86_400, 3_600, "h"), (86_400 * 60, 86_400, "d"))


def chip_of(state: str) -> Chip:
    """The chip of a state by its name, whatever its case; a state that is new here is shown plainly."""
    meaning, icon = _STATES.get(state.lower(), ("neutral", "circle-dot"))
    return Chip(state.lower().replace("_", " "), meaning, icon)


def exact(moment: datetime) -> str:
    """A time to the second in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def machine(moment: datetime) -> str:
    """A time as the `datetime` attribute has it, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(moment: datetime, now: datetime) -> str:
    """How far a time is from now: `12 s ago`, `in 4 min`; older than 60 days its date."""
    seconds = (now - moment).total_seconds()
    for below, unit, name in _STEPS:
        if abs(seconds) < below:
            count = int(abs(seconds) // unit)
            if name == "s" and count < 2:
                return "now"
            return f"{count} {name} ago" if seconds >= 0 else f"in {count} {name}"
    return moment.astimezone(UTC).strftime("%Y-%m-%d")


def duration(milliseconds: float) -> str:
    """A duration as people say it: `340 ms`, `1.2 s`, `4 min 10 s`."""
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1_000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1_000), 60)
    hours, minutes = divmod(minutes, 60)
    whole, rest = (f"{hours} h", f"{minutes} min") if hours else (f"{minutes} min", f"{seconds} s")
    return whole if rest.startswith("0 ") else f"{whole} {rest}"


def count(number: int, *, most: int | None = None) -> str:
    """A number with thin groups; one that reached its bound says that there may be more."""
    shown = f"{number:,}".replace(",", "\u202f")
    return f"{shown}+" if most is not None and number >= most else shown


def size(number: int | None) -> str:
    """A size as people say it: `0 B`, `340 B`, `1.2 KB`, `3.4 MB`; in steps of 1,000."""
    value = float(number or 0)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1_000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1_000
    return f"{value:,.1f} TB"


def plural(number: int, one: str, many: str | None = None) -> str:
    """`1 endpoint`, `3 endpoints`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def short(identifier: str) -> str:
    """An id by its end, which differs where beginnings are alike."""
    return f"…{identifier[-8:]}" if len(identifier) > 12 else identifier


def line_of(values: Sequence[float | None], *, width: int, height: int) -> str:
    """The path of a small line chart, from zero to its largest value; broken where a value is not known."""
    top = max([value for value in values if value is not None] + [1])
    step = width / max(len(values) - 1, 1)
    parts, pen = [], "M"
    for n, value in enumerate(values):
        if value is None:
            pen = "M"
        else:
            parts.append(f"{pen}{n * step:.1f},{height - value / top * height:.1f}")
            pen = "L"
    return " ".join(parts)


FILTERS: dict[str, Any] = {
    "chip": chip_of, "exact": exact, "machine": machine, "duration": duration, "count": count, "plural": plural,
    "short": short, "line": line_of, "size": size,
}  # fmt: skip
"""What templates may say after a `|`; `ago` needs the page's own now."""
