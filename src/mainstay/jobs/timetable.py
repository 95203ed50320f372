"""When slots are due: the last and the next one, how many lie between, in words and as five cron fields."""

from datetime import UTC, datetime, time, timedelta

from mainstay.kernel import cron
from mainstay.kernel.work import Cron, Daily, Every, Slots, Weekly

_DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def last_slot(slots: Slots, now: datetime) -> datetime:
    """The latest slot that is not after `now`."""
    if isinstance(slots, Every):
        return now - (now - _EPOCH) % slots.period
    if isinstance(slots, Cron):
        return cron.at_or_before(slots.fields, now)
    now = now.astimezone(UTC)
    days_ago = (now.weekday() - slots.weekday) % 7 if isinstance(slots, Weekly) else 0
    slot = datetime.combine(now.date() - timedelta(days=days_ago), slots.at, tzinfo=UTC)
    return slot if slot <= now else slot - (7 * _DAY if isinstance(slots, Weekly) else _DAY)


def next_slot(slots: Slots, now: datetime) -> datetime:
    """The first slot after `now`."""
    if isinstance(slots, Cron):
        return cron.after(slots.fields, now)
    if isinstance(slots, Every):
        return last_slot(slots, now) + slots.period
    return last_slot(slots, now) + (7 * _DAY if isinstance(slots, Weekly) else _DAY)


def count_between(slots: Slots, after: datetime, before: datetime) -> int:
    """How many slots lie between the two moments, which are not counted themselves."""
    if isinstance(slots, Cron):
        return cron.count_between(slots.fields, after, before)
    period = slots.period if isinstance(slots, Every) else _DAY * (7 if isinstance(slots, Weekly) else 1)
    return max(0, -((next_slot(slots, after) - before) // period))


def write(slots: Slots) -> str:
    """The slots as one text that `read` understands."""
    if isinstance(slots, Every):
        return f"every {slots.period.total_seconds():.15g}"
    if isinstance(slots, Cron):
        return f"cron {slots.text}"
    return f"weekly {slots.weekday} {slots.at}" if isinstance(slots, Weekly) else f"daily {slots.at}"


def read(text: str) -> Slots:
    """The slots that were written so."""
    word, _, rest = text.partition(" ")
    if word == "every":
        return Every(timedelta(seconds=float(rest)))
    if word == "cron":
        return Cron(rest)
    if word == "weekly":
        weekday, _, at = rest.partition(" ")
        return Weekly(int(weekday), time.fromisoformat(at))
    return Daily(time.fromisoformat(rest))


def in_words(slots: Slots) -> str:
    """The slots as a person says them, in UTC: `daily at 02:00`."""
    if isinstance(slots, Every):
        return f"every {_span(slots.period)}"
    if isinstance(slots, Cron):
        return f"at {' '.join(slots.text.split())}"
    at = slots.at.isoformat("minutes" if not slots.at.second else "seconds")
    return f"{_DAY_NAMES[slots.weekday]}s at {at}" if isinstance(slots, Weekly) else f"daily at {at}"


def as_cron(slots: Slots) -> str | None:
    """The slots as five cron fields; None where those cannot say it."""
    if isinstance(slots, Cron):
        return " ".join(slots.text.split())
    if isinstance(slots, Every):
        if slots.period == _DAY:
            return "0 0 * * *"
        for unit, most, text in ((_MINUTE, 60, "*{} * * * *"), (_HOUR, 24, "0 *{} * * *")):
            count, rest = divmod(slots.period, unit)
            if not rest and count < most and most % count == 0:
                return text.format("" if count == 1 else f"/{count}")
        return None
    if slots.at.second or slots.at.microsecond:
        return None
    day = (slots.weekday + 1) % 7 if isinstance(slots, Weekly) else "*"
    return f"{slots.at.minute} {slots.at.hour} * * {day}"


def _span(period: timedelta) -> str:
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        count, rest = divmod(period, unit)
        if not rest:
            return name if count == 1 else f"{count} {name}s"
    return "second" if period == timedelta(seconds=1) else f"{period.total_seconds():.15g} seconds"
