"""Five cron fields: what they allow agrees with a computation of its own, and what is wrong is named."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.kernel import cron
from mainstay.kernel.work import Cron

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def _part(low: int, high: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    """One part of a field as text, beside the numbers that it means."""
    number = st.integers(low, high)
    one = number.map(lambda n: (str(n), frozenset({n})))
    spans = st.tuples(number, number, st.integers(1, high)).map(
        lambda t: (min(t[:2]), max(t[:2]), t[2])  # a range with a step; 1 is written, too
    )
    ranges = spans.map(lambda t: (f"{t[0]}-{t[1]}/{t[2]}", frozenset(n for n in range(t[0], t[1] + 1, t[2]))))
    stars = st.integers(1, high).map(
        lambda step: (f"*/{step}", frozenset(n for n in range(low, high + 1) if (n - low) % step == 0))
    )
    return st.one_of(one, ranges, stars, st.just(("*", frozenset(range(low, high + 1)))))


def _field(low: int, high: int) -> st.SearchStrategy[tuple[str, frozenset[int]]]:
    return st.lists(_part(low, high), min_size=1, max_size=3).map(
        lambda parts: (",".join(text for text, _ in parts), frozenset().union(*(numbers for _, numbers in parts)))
    )


def _fits(sets: list[frozenset[int]], texts: list[str], moment: datetime) -> bool:
    """The rule of the manual, said anew: each of minute, hour, month; then of the two days one or both."""
    minute, hour, day, month, weekday = sets
    in_month, in_week = moment.day in day, (moment.weekday() + 1) % 7 in weekday
    both_restricted = texts[2][0] != "*" and texts[4][0] != "*"
    right_day = (in_month or in_week) if both_restricted else (in_month and in_week)
    return moment.minute in minute and moment.hour in hour and moment.month in month and right_day


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 6)),
    st.datetimes(datetime(2023, 1, 1), datetime(2033, 1, 1), timezones=st.just(UTC)),
)
def test_the_slot_before_and_the_slot_after_are_those_of_a_walk_over_the_minutes(
    fields: tuple[tuple[str, frozenset[int]], ...], moment: datetime
) -> None:
    texts, sets = [text for text, _ in fields], [numbers for _, numbers in fields]
    days = [datetime(2024, 1, 1, minute=min(sets[0]), hour=min(sets[1]), tzinfo=UTC) + n * DAY for n in range(366)]
    if texts[4] == "*" and not any(_fits(sets, texts, day) for day in days):
        with pytest.raises(ValueError, match="has a day"):
            cron.parse(" ".join(texts))
        return
    parsed = cron.parse(" ".join(texts))
    before, following = cron.at_or_before(parsed, moment), cron.after(parsed, moment)
    assert before <= moment < following
    assert _fits(sets, texts, before)
    assert _fits(sets, texts, following)
    gap = following - before
    for minute in range(1, min(gap // MINUTE, 400)):
        assert not _fits(sets, texts, before + minute * MINUTE)
        assert not _fits(sets, texts, following - minute * MINUTE)
    for day in range(1, min(gap.days, 1_500)):
        at = before + day * DAY
        assert not _fits([frozenset({at.minute}), frozenset({at.hour}), *sets[2:]], texts, at), "a day was passed over"


@pytest.mark.parametrize(
    ("text", "now", "last", "following"),
    [
        ("0 2 * * *", "2026-11-21T01:59:59", "2026-11-20T02:00", "2026-11-21T02:00"),
        ("0 2 * * *", "2026-11-21T02:00:00", "2026-11-21T02:00", "2026-11-22T02:00"),
        ("*/5 * * * *", "2026-11-21T23:59:00", "2026-11-21T23:55", "2026-11-22T00:00"),
        ("0 5 * * 0", "2026-11-22T04:59:00", "2026-11-15T05:00", "2026-11-22T05:00"),
        ("0 5 * * 7", "2026-11-22T05:00:00", "2026-11-22T05:00", "2026-11-29T05:00"),
        ("30 6 1,15 * mon", "2026-11-03T00:00:00", "2026-11-02T06:30", "2026-11-09T06:30"),
        ("30 6 */2 * mon", "2026-11-03T00:00:00", "2026-10-19T06:30", "2026-11-09T06:30"),
        ("0 9-17/4 * jan-mar MON-FRI", "2026-03-31T18:00:00", "2026-03-31T17:00", "2027-01-01T09:00"),
        ("0 12 * * fri-sun", "2026-11-22T13:00:00", "2026-11-22T12:00", "2026-11-27T12:00"),
        ("0 0 29 feb *", "2026-11-21T00:00:00", "2024-02-29T00:00", "2028-02-29T00:00"),
        ("0 0 29 2 *", "2097-01-01T00:00:00", "2096-02-29T00:00", "2104-02-29T00:00"),
        ("0 0 31 * *", "2026-11-21T00:00:00", "2026-10-31T00:00", "2026-12-31T00:00"),
    ],
)
def test_slots_of_five_fields(text: str, now: str, last: str, following: str) -> None:
    fields = Cron(text).fields
    now_utc, last_utc, following_utc = (
        datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (now, last, following)
    )
    assert cron.at_or_before(fields, now_utc) == last_utc
    assert cron.after(fields, now_utc) == following_utc


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("* * * *", "five fields"),
        ("@daily", "five fields"),
        ("60 * * * *", "minute: '60' is not a number from 0 to 59"),
        ("* 24 * * *", "hour: '24'"),
        ("* * 0 * *", "day of month: '0'"),
        ("* * * 13 *", "month: '13' is not a number from 1 to 12 or jan, feb"),
        ("* * * * 8", "day of week: '8'"),
        ("* * * * mondays", "day of week: 'mondays'"),
        ("mon * * * *", "minute: 'mon'"),
        ("5-1 * * * *", "minute: the range '5-1' ends before it begins"),
        ("5/10 * * * *", "the step of '5/10' needs a range"),
        ("*/0 * * * *", "minute, step: '0'"),
        ("1, * * * *", "minute: ''"),
        ("-1 * * * *", "minute: ''"),
        ("\u0665 * * * *", "minute: "),
        ("0 0 30 2 *", "no month of '2' has a day of '30'"),
        ("0 0 31 4,6,9,11 */2", "no month of"),
        (" ".join(["0" * 60] * 4), "at most 200 characters"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Cron(text)
