"""Another role for a member, and other features: tried first, or done."""

from collections.abc import Sequence
from dataclasses import dataclass

from mainstay import identity
from mainstay.kernel import outbox
from mainstay.kernel.db import Tx
from mainstay.kernel.errors import Fault, Invalid
from mainstay.members import gains, members
from mainstay.members.gains import Difference, Rights
from mainstay.members.queries import members as rows
from mainstay.web.callers import Caller
from mainstay.web.roles import Role


@dataclass(frozen=True, slots=True)
class Change:
    """A member's rights before and after, what differs, and whether it was done."""

    before: Rights
    after: Rights
    difference: Difference
    is_done: bool


async def change_role(
    tx: Tx, caller: Caller, person_id: str, *, role: Role, features: Sequence[str] | None, is_tried: bool
) -> Change:
    """The member has that role, and `member.role_changed` is announced; features fall away with another role than
    staff, and stay unless others are given. Only tried, it tells what would be. What `admit_change` refuses, Invalid,
    LastOwner."""
    row = await members.admit_change(tx, caller, person_id, makes_owner=role == "owner", is_tried=is_tried)
    before = Rights(row["role"], tuple(row["features"]))
    kept = before.features if role == "staff" and features is None else features
    after = gains.rights_of(role, kept)
    if role != "owner":
        await members.keep_an_owner(tx, caller.company_id, str(row["person_id"]), before.role)
    name = "member.features_changed" if before.role == after.role else "member.role_changed"
    return await _carry_out(tx, caller, str(row["person_id"]), name, before, after, is_tried=is_tried)


async def change_features(tx: Tx, caller: Caller, person_id: str, *, features: Sequence[str]) -> Change:
    """The member of the staff has those features and no others, and `member.features_changed` is announced. What
    `admit_change` refuses, Invalid for features that do not exist and for members who are not staff."""
    row = await members.admit_change(tx, caller, person_id)
    before = Rights(row["role"], tuple(row["features"]))
    if before.role != "staff":
        raise Invalid(faults=[Fault(f"are for staff; this member is {before.role}", "#/features")])
    after = gains.rights_of("staff", features)
    name = "member.features_changed"
    return await _carry_out(tx, caller, str(row["person_id"]), name, before, after, is_tried=False)


async def _carry_out(
    tx: Tx, caller: Caller, person_id: str, name: str, before: Rights, after: Rights, *, is_tried: bool
) -> Change:
    difference = gains.difference(before, after)
    if is_tried or before == after:
        return Change(before, after, difference, is_done=not is_tried)
    await rows.set_rights(tx, caller.company_id, person_id, after.role, after.features)
    data = {
        "personId": person_id,
        "roleBefore": before.role,
        "role": after.role,
        "featuresBefore": before.features,
        "features": after.features,
    }
    await outbox.announce(tx, name, company_id=caller.company_id, actor=caller.actor, data=data)
    await identity.cached.clear_person(tx, person_id)
    return Change(before, after, difference, is_done=True)
