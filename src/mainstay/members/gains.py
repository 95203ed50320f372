"""What somebody gains and loses with another role or other features. Pure."""

from collections.abc import Collection
from dataclasses import dataclass

from mainstay.kernel.errors import Fault, Invalid
from mainstay.web.roles import ACTS, FEATURES, Role


@dataclass(frozen=True, slots=True)
class Rights:
    """A role, and the features that staff are assigned."""

    role: Role
    features: tuple[str, ...] = ()

    @property
    def acts(self) -> frozenset[str]:
        """Every act of the table that these rights allow."""
        return frozenset(name for name, act in ACTS.items() if act.allows(self.role, self.features))


@dataclass(frozen=True, slots=True)
class Difference:
    """Acts in the order of the table, features in the order of their list."""

    acts_gained: tuple[str, ...]
    acts_lost: tuple[str, ...]
    features_gained: tuple[str, ...]
    features_lost: tuple[str, ...]


def difference(before: Rights, after: Rights) -> Difference:
    """What who has the rights `after` may do and could not before, and the reverse."""
    return Difference(
        acts_gained=tuple(name for name in ACTS if name in after.acts - before.acts),
        acts_lost=tuple(name for name in ACTS if name in before.acts - after.acts),
        features_gained=tuple(one for one in after.features if one not in before.features),
        features_lost=tuple(one for one in before.features if one not in after.features),
    )


def rights_of(role: Role, features: Collection[str] | None, pointer: str = "#/features") -> Rights:
    """Those rights; Invalid for a feature that does not exist, or for any where the role is not staff, as owners and
    managers have no use for them."""
    given = features or ()
    faults = [
        Fault(f"must be one of {', '.join(FEATURES)}", f"{pointer}/{place}")
        for place, one in enumerate(given)
        if one not in FEATURES
    ]
    if given and role != "staff":
        faults = [Fault(f"must be empty for the role {role}: features are what staff are assigned", pointer)]
    if faults:
        raise Invalid(faults=faults)
    return Rights(role, tuple(one for one in FEATURES if one in given))
