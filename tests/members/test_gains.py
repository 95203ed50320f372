"""What another role or other features give and take: the table itself."""

import pytest

from mainstay.kernel.errors import Invalid
from mainstay.members.gains import Rights, difference, rights_of
from mainstay.web.roles import ACTS, FEATURES

OWNERS_OWN = tuple(name for name, act in ACTS.items() if act.roles == {"owner"})


def test_every_act_is_gained_or_lost_between_all_and_nothing() -> None:
    least, most = Rights("staff"), Rights("owner")
    found = difference(least, most)
    assert found.acts_gained == tuple(name for name, act in ACTS.items() if "staff" not in act.roles)
    assert (found.acts_lost, found.features_gained, found.features_lost) == ((), (), ())
    assert difference(most, least).acts_lost == found.acts_gained
    assert difference(most, most) == difference(least, least) == difference(most, Rights("owner"))
    assert difference(most, Rights("manager")).acts_lost == OWNERS_OWN


def test_features_give_staff_their_reading_acts_alone() -> None:
    found = difference(Rights("staff", ("usage",)), Rights("staff", ("events", "webhooks")))
    assert (found.acts_gained, found.acts_lost) == (("events.read", "webhooks.read"), ("usage.read",))
    assert (found.features_gained, found.features_lost) == (("events", "webhooks"), ("usage",))
    promoted = difference(Rights("staff", FEATURES), Rights("manager"))
    assert promoted.features_lost == FEATURES
    assert "events.read" not in promoted.acts_gained
    assert "webhooks.change" in promoted.acts_gained
    assert promoted.acts_lost == ()


def test_rights_are_in_order_and_checked() -> None:
    assert rights_of("staff", ["usage", "events", "usage"]) == Rights("staff", ("events", "usage"))
    assert rights_of("manager", None) == rights_of("manager", []) == Rights("manager")
    with pytest.raises(Invalid) as unknown:
        rights_of("staff", ["events", "money"])
    assert [fault.pointer for fault in unknown.value.faults] == ["#/features/1"]
    with pytest.raises(Invalid) as useless:
        rights_of("owner", ["events"])
    assert [fault.pointer for fault in useless.value.faults] == ["#/features"]
