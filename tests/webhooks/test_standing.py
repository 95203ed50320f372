"""How an endpoint stands after failed tries, as a table of cases."""

from datetime import UTC, datetime, timedelta

import pytest

from mainstay.webhooks.ladder import RETRIES_AT_MOST
from mainstay.webhooks.standing import BREAKER_FAILURES, NO_STEP, Health, Step, after_failure, disables_at

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


def failing(failures: int, for_: timedelta = SECOND, **more: object) -> Health:
    return Health(failures, NOW - for_, **{"days": 5, **more})  # type: ignore[arg-type]


def test_one_delivery_alone_never_opens_the_breaker() -> None:
    assert BREAKER_FAILURES > RETRIES_AT_MOST + 1


@pytest.mark.parametrize(
    ("health", "open_for"),
    [
        (failing(9), None),
        (failing(10), 30 * SECOND),
        (failing(500), 30 * SECOND),
        (failing(11, open_until=NOW + SECOND, trips=1), None),
        (failing(11, open_until=NOW, trips=1), 60 * SECOND),
        (failing(12, open_until=NOW - DAY, trips=2), 120 * SECOND),
        (failing(13, open_until=NOW - SECOND, trips=3), 240 * SECOND),
        (failing(14, open_until=NOW - SECOND, trips=4), 300 * SECOND),
        (failing(14, open_until=NOW - SECOND, trips=30_000), 300 * SECOND),
    ],
)
def test_the_breaker_opens_after_ten_and_for_twice_as_long_after_each_failed_probe(
    health: Health, open_for: timedelta | None
) -> None:
    assert after_failure(health, NOW) == Step(open_for=open_for)


OPEN = {"open_until": NOW + SECOND, "trips": 1}


@pytest.mark.parametrize(
    ("health", "step"),
    [
        (failing(9, 2.5 * DAY), NO_STEP),
        (failing(10, 2.5 * DAY - SECOND, **OPEN), NO_STEP),
        (failing(10, 2.5 * DAY, **OPEN), Step(warning=50)),
        (failing(14, 4.9 * DAY, **OPEN), Step(warning=50)),
        (failing(15, 3.75 * DAY - SECOND, warned=50, **OPEN), NO_STEP),
        (failing(15, 3.75 * DAY, warned=50, **OPEN), Step(warning=75)),
        (failing(15, 3.75 * DAY, **OPEN), Step(warning=75)),
        (failing(100, 4.9 * DAY, warned=75, **OPEN), NO_STEP),
        (failing(19, 400 * DAY, warned=75, **OPEN), NO_STEP),
        (failing(20, 5 * DAY - SECOND, warned=75, **OPEN), NO_STEP),
        (failing(20, 5 * DAY, warned=75, **OPEN), Step(disables=True)),
        (failing(20, 5 * DAY), Step(disables=True)),
        (failing(500, 6 * DAY, days=1, **OPEN), NO_STEP),
        (failing(500, 6 * DAY, days=2, **OPEN), Step(warning=50)),
        (failing(500, 6 * DAY, days=2, warned=50, **OPEN), NO_STEP),
        (failing(15, 3.75 * DAY, days=3, warned=50, **OPEN), Step(warning=75)),
        (failing(500, 6 * DAY, days=3, **OPEN), Step(disables=True)),
        (failing(1_000_000, timedelta(hours=1), **OPEN), NO_STEP),
        (failing(1_000_000, 2.4 * DAY, **OPEN), NO_STEP),
    ],
)
def test_warnings_and_the_end_need_time_failures_and_days(health: Health, step: Step) -> None:
    assert after_failure(health, NOW) == step


def test_the_end_is_five_days_after_the_first_failure() -> None:
    assert disables_at(failing(3, DAY)) == NOW + 4 * DAY
