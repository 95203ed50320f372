"""The ladder as a table of cases."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from mainstay.webhooks.ladder import (
    GAPS,
    PROFILES,
    Delivered,
    DisableEndpoint,
    Failed,
    Outcome,
    RetryAfter,
    Verdict,
    after,
    gaps_of,
    outcome_of,
    patience,
    word_of,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOURS_6 = timedelta(hours=6)


@pytest.mark.parametrize(
    ("status", "error", "outcome"),
    [
        (200, None, "delivered"), (204, None, "delivered"), (299, None, "delivered"),
        (199, None, "status"), (300, None, "redirect"), (307, None, "redirect"), (399, None, "redirect"),
        (400, None, "status"), (410, None, "gone"), (429, None, "status"), (500, None, "status"), (999, None, "status"),
        (None, "timeout", "timeout"), (None, "refused_address", "refused_address"), (200, "closed", "closed"),
    ],
)  # fmt: skip
def test_only_a_whole_2xx_is_a_success(status: int | None, error: object, outcome: Outcome) -> None:
    assert outcome_of(status, error) == outcome  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "retries", "verdict"),
    [
        (1, 4, RetryAfter(timedelta(seconds=60))),
        (2, 4, RetryAfter(timedelta(seconds=300))),
        (3, 4, RetryAfter(timedelta(seconds=1_800))),
        (4, 4, RetryAfter(timedelta(seconds=21_600))),
        (5, 4, Failed()),
        (6, 4, Failed()),
        (3, 3, RetryAfter(timedelta(seconds=1_800))),
        (4, 3, Failed()),
        (1, 1, RetryAfter(timedelta(seconds=60))),
        (2, 1, Failed()),
        (1, 0, Failed()),
    ],
)
@pytest.mark.parametrize("outcome", ["status", "redirect", "timeout", "refused_address", "unsendable"])
def test_a_failure_waits_for_its_rung_until_no_try_is_left(
    outcome: Outcome, made: int, retries: int, verdict: Verdict
) -> None:
    assert after(outcome, status=500, attempts_made=made, gaps=GAPS[:retries], headers={}, now=NOW) == verdict


def test_success_and_gone_end_it_at_once() -> None:
    for made in range(1, 7):
        assert (
            after("delivered", status=200, attempts_made=made, gaps=GAPS, headers={"retry-after": "9"}, now=NOW)
            == Delivered()
        )
        assert (
            after("gone", status=410, attempts_made=made, gaps=GAPS, headers={"retry-after": "9"}, now=NOW)
            == DisableEndpoint()
        )


@pytest.mark.parametrize(
    ("status", "asked", "wait"),
    [
        (429, "120", timedelta(seconds=120)),
        (503, "120", timedelta(seconds=120)),
        (500, "120", timedelta(seconds=60)),
        (429, "10", timedelta(seconds=60)),
        (429, "0", timedelta(seconds=60)),
        (429, "-5", timedelta(seconds=60)),
        (429, "soon", timedelta(seconds=60)),
        (429, "", timedelta(seconds=60)),
        (429, "²", timedelta(seconds=60)),
        (429, "99999", HOURS_6),
        (429, "9" * 5_000, HOURS_6),
        (429, format_datetime(NOW + timedelta(minutes=10), usegmt=True), timedelta(minutes=10)),
        (503, format_datetime(NOW + timedelta(minutes=10), usegmt=True), timedelta(minutes=10)),
        (429, format_datetime(NOW - timedelta(days=1), usegmt=True), timedelta(seconds=60)),
        (429, format_datetime(NOW + timedelta(days=1), usegmt=True), HOURS_6),
        (429, "Sun, 01 Mar 2026 12:10:00 -0000", timedelta(minutes=10)),
        (429, "Sun, 99 Mar 2026 12:10:00 GMT", timedelta(seconds=60)),
    ],
)
def test_patience_is_given_where_asked_for_and_never_less_than_the_rung(
    status: int, asked: str, wait: timedelta
) -> None:
    verdict = after("status", status=status, attempts_made=1, gaps=GAPS, headers={"retry-after": asked}, now=NOW)
    assert verdict == RetryAfter(wait)


def test_patience_reads_seconds_and_dates_and_nothing_else() -> None:
    assert patience(" 7 ", NOW) == timedelta(seconds=7)
    assert patience("Sunday, 01-Mar-26 12:00:30 GMT", NOW) == timedelta(seconds=30)
    for nonsense in ("", "1.5", "+3", "tomorrow", "0x10"):
        assert patience(nonsense, NOW) is None


def test_three_days_are_ten_gaps_that_outlast_a_weekend() -> None:
    minutes = [gap / timedelta(minutes=1) for gap in PROFILES["three_days"]]
    assert minutes == [1, 5, 30, 120, 300, 600, 600, 840, 840, 960]
    assert timedelta(days=2, hours=20) < sum(PROFILES["three_days"], timedelta()) < timedelta(days=3, hours=4)
    assert PROFILES["standard"] == GAPS


@pytest.mark.parametrize(
    ("profile", "retries", "gaps"),
    [
        ("standard", 0, ()), ("standard", 3, GAPS[:3]), ("standard", 4, GAPS),
        ("standard", 6, (*GAPS, HOURS_6, HOURS_6)),
        ("three_days", 10, PROFILES["three_days"]), ("three_days", 4, (*GAPS[:3], timedelta(hours=2))),
    ],
)  # fmt: skip
def test_retries_cut_a_profile_and_never_run_out_of_gaps(profile: str, retries: int, gaps: object) -> None:
    assert gaps_of(profile, retries) == gaps


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("disable", "disable"), (" Disable ", "disable"), ("abort-message", "abort-message"),
        ("abort-message, disable", "disable"), ("nonsense, abort-message", "abort-message"), ("", None), ("no", None),
        ("disabled", None),
    ],
)  # fmt: skip
def test_the_receivers_word_is_read(said: str, word: str | None) -> None:
    assert word_of({"webhook-delivery": said}) == word
    assert word_of({"x-webhook-delivery": said}) is None


@pytest.mark.parametrize(
    ("outcome", "word", "verdict"),
    [
        ("status", "disable", DisableEndpoint()), ("redirect", "disable", DisableEndpoint()),
        ("status", "abort-message", Failed()), ("closed", "abort-message", Failed()),
        ("delivered", "disable", Delivered()), ("delivered", "abort-message", Delivered()),
        ("gone", "abort-message", DisableEndpoint()),
    ],
)  # fmt: skip
def test_the_receivers_word_is_obeyed(outcome: Outcome, word: str, verdict: Verdict) -> None:
    headers = {"webhook-delivery": word}
    assert after(outcome, status=500, attempts_made=1, gaps=GAPS, headers=headers, now=NOW) == verdict
