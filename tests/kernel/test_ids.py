"""Identifiers rise with time, also where the clock does not."""

import pytest

from mainstay.kernel import ids

NOON_NS = 1_900_000_000_000_000_000


def test_ids_of_one_process_rise() -> None:
    made = [ids.new_id() for _ in range(20_000)]
    assert made == sorted(set(made))
    assert all(ids.is_uuid(one) and one[14] == "7" and one[19] in "89ab" for one in made[:100])


@pytest.mark.parametrize("back_ns", [0, 1, 999_000_000])
def test_ids_rise_while_the_clock_stands_still_or_steps_back_a_little(
    back_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = NOON_NS
    monkeypatch.setattr("time.time_ns", lambda: now)
    monkeypatch.setattr(ids, "_last_stamp", 0)
    before = ids.new_id()
    assert ids.time_of(before).timestamp() == NOON_NS / 1e9
    now -= back_ns
    after = [ids.new_id() for _ in range(1_000)]
    assert [before, *after] == sorted({before, *after})


def test_ids_follow_a_clock_that_was_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    now = NOON_NS
    monkeypatch.setattr("time.time_ns", lambda: now)
    monkeypatch.setattr(ids, "_last_stamp", 0)
    ids.new_id()
    now -= 1_100_000_000
    assert ids.time_of(ids.new_id()).timestamp() == now / 1e9
