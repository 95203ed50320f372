"""What the demonstration company has of people: features of its staff, a department, and somebody who is invited."""

from collections.abc import Mapping

from mainstay import identity, members
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Tx
from mainstay.web.callers import Caller
from mainstay.web.roles import Feature

STAFF_FEATURES: tuple[Feature, ...] = ("events", "webhooks", "usage")
DEPARTMENT = "Support"
INVITED = "new.colleague"


async def furnish(tx: Tx, keyring: Keyring, company: identity.Company, people: Mapping[str, identity.Person]) -> None:
    """The staff may see something, manager and staff are in a department, and a colleague is invited; all by the owner.
    `people` is by role."""
    owner = people["owner"]
    by = Caller(kind="person", id=owner.id, name=owner.name, company_id=company.id, role="owner", email=owner.email)
    await members.changing.change_features(tx, by, people["staff"].id, features=STAFF_FEATURES)
    department = await members.departments.open_department(tx, by, name=DEPARTMENT)
    for role in ("manager", "staff"):
        await members.departments.join_department(tx, by, department.id, people[role].id)
    email = f"{INVITED}@{company.slug}.example"
    await members.invite(tx, keyring, by, email=email, role="staff", features=STAFF_FEATURES)
