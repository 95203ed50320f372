"""Billing periods: calendar months in UTC."""

from datetime import UTC, date, datetime, time, timedelta


def following(period: date) -> date:
    """The first day of the month after the one that begins then."""
    return (period.replace(day=1) + timedelta(days=32)).replace(day=1)


def preceding(period: date) -> date:
    """The first day of the month before the one that begins then."""
    return (period.replace(day=1) - timedelta(days=1)).replace(day=1)


def start_of(period: date) -> datetime:
    """The moment at which the period begins."""
    return datetime.combine(period, time(), tzinfo=UTC)


def elapsed_share(period: date, now: datetime) -> float:
    """How much of the period is over, from 0 to 1."""
    start, end = start_of(period), start_of(following(period))
    return min(max((now - start) / (end - start), 0.0), 1.0)


def projected(quantity: int, period: date, now: datetime) -> int:
    """What the period will come to at the pace so far; what is used already until an hour of it is over."""
    if now - start_of(period) < timedelta(hours=1):
        return quantity
    return round(quantity / elapsed_share(period, now))
