"""Times written as five cron fields: read, checked, and computed in UTC."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

LONGEST = 200
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 7, _DAYS),
)
_LONGEST_MONTH = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Fields:
    """What five fields allow; `either_day` says that a day needs to fit one of the two day fields only."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    def has(self, day: date) -> bool:
        """Whether the fields allow the day."""
        fits, fits_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and (fits or fits_week if self.either_day else fits and fits_week)


def parse(text: str) -> Fields:
    """The fields that the text names; ValueError says which field is wrong, and how.

    `minute hour day-of-month month day-of-week`, each `*`, a number, a range `a-b` or a list of these; `*` and ranges
    may have a step `/n`. Months and weekdays have names (`jan`, `mon`); Sunday is 0 and 7. If both day fields are
    restricted (neither begins with `*`), a day that fits either is allowed, else it has to fit both.
    """
    if len(text) > LONGEST:
        raise ValueError(f"a cron text has at most {LONGEST} characters")
    words = text.split()
    if len(words) != len(_FIELDS):
        raise ValueError(
            f"a cron text has five fields (minute, hour, day of month, month, day of week), not {len(words)}"
        )
    sets = [_field(word.lower(), *field) for word, field in zip(words, _FIELDS, strict=True)]
    minutes, hours, days, months, weekdays = sets
    fields = Fields(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(day % 7 for day in weekdays),
        either_day=not words[2].startswith("*") and not words[4].startswith("*"),
    )
    if not fields.either_day and not any(min(days) <= _LONGEST_MONTH[month] for month in months):
        raise ValueError(f"no month of {words[3]!r} has a day of {words[2]!r}")
    return fields


def _field(word: str, name: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    allowed: set[int] = set()
    for part in word.split(","):
        span, slash, step_text = part.partition("/")
        first_text, dash, last_text = span.partition("-")
        if span == "*":
            first, last = low, min(high, 6) if names is _DAYS else high
        else:
            first = _number(first_text, name, low, high, names)
            last = _number(last_text, name, low, high, names) if dash else first
            if dash and names is _DAYS and last_text == "sun" and first > 0:
                last = 7
        if first > last:
            raise ValueError(f"{name}: the range {span!r} ends before it begins")
        step = 1
        if slash:
            if span != "*" and not dash:
                raise ValueError(f"{name}: the step of {part!r} needs a range or * before it")
            step = _number(step_text, f"{name}, step", 1, high, {})
        allowed.update(range(first, last + 1, step))
    return allowed


def _number(text: str, name: str, low: int, high: int, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if not text.isascii() or not text.isdigit() or len(text) > 4 or not low <= int(text) <= high:
        words = f" or {', '.join(names)}" if names else ""
        raise ValueError(f"{name}: {text!r} is not a number from {low} to {high}{words}")
    return int(text)


def at_or_before(fields: Fields, moment: datetime) -> datetime:
    """The latest allowed minute that is not after the moment."""
    moment = moment.astimezone(UTC)
    day, limit = moment.date(), moment.hour * 60 + moment.minute
    while True:
        if day.month not in fields.months:
            day, limit = day.replace(day=1) - _DAY, 1439
        elif fields.has(day) and (at := _last_minute(fields, limit)) is not None:
            return datetime.combine(day, time(*divmod(at, 60)), tzinfo=UTC)
        else:
            day, limit = day - _DAY, 1439


def after(fields: Fields, moment: datetime) -> datetime:
    """The first allowed minute after the moment."""
    moment = moment.astimezone(UTC)
    day, limit = moment.date(), moment.hour * 60 + moment.minute + 1
    while True:
        if day.month not in fields.months:
            day, limit = (day.replace(day=28) + 4 * _DAY).replace(day=1), 0
        elif fields.has(day) and (at := _first_minute(fields, limit)) is not None:
            return datetime.combine(day, time(*divmod(at, 60)), tzinfo=UTC)
        else:
            day, limit = day + _DAY, 0


def count_between(fields: Fields, start: datetime, end: datetime) -> int:
    """How many allowed minutes lie after the one moment and before the other."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    minutes = [timedelta(hours=hour, minutes=minute) for hour in fields.hours for minute in fields.minutes]
    count, day = 0, start.date()
    while day <= end.date():
        if fields.has(day):
            if start.date() < day < end.date():
                count += len(minutes)
            else:
                midnight = datetime.combine(day, time(), tzinfo=UTC)
                count += sum(start < midnight + minute < end for minute in minutes)
        day += _DAY
    return count


def _last_minute(fields: Fields, limit: int) -> int | None:
    """The latest minute of a day up to `limit`."""
    for hour in reversed(fields.hours):
        fitting = [minute for minute in fields.minutes if hour * 60 + minute <= limit]
        if fitting:
            return hour * 60 + fitting[-1]
    return None


def _first_minute(fields: Fields, limit: int) -> int | None:
    """The first minute of a day from `limit` on."""
    for hour in fields.hours:
        fitting = [minute for minute in fields.minutes if hour * 60 + minute >= limit]
        if fitting:
            return hour * 60 + fitting[0]
    return None
