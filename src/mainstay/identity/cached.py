"""What is cached of people and companies, for how long, and what a change of them clears."""

from datetime import timedelta
from typing import Final

from mainstay.identity.queries import cached as rows
from mainstay.kernel import cache
from mainstay.kernel.cache import Family
from mainstay.kernel.db import Tx

COMPANY_STATS: Final = Family("company", "stats", timedelta(seconds=60))
USER_PROFILE: Final = Family("user", "profile", timedelta(seconds=300))
DEPARTMENT_MEMBERS: Final = Family("department", "members", timedelta(seconds=300))
FAMILIES: Final = (COMPANY_STATS, USER_PROFILE, DEPARTMENT_MEMBERS)


async def clear_company(tx: Tx, company_id: str) -> None:
    """Once this commits, how much the company has is counted anew."""
    await cache.clear_later(tx, [COMPANY_STATS.key(company_id)])


async def clear_person(tx: Tx, person_id: str) -> None:
    """Once this commits, what is shown of the person is read anew: their profile, who is in their departments, and how
    much their companies have. Where a membership ends, called before it does, for those that are no longer theirs."""
    found = await rows.where_shown_everywhere(tx, person_id)
    keys = [USER_PROFILE.key(person_id)]
    keys += [DEPARTMENT_MEMBERS.key(str(one)) for one in found["departments"]]
    keys += [COMPANY_STATS.key(str(one)) for one in found["companies"]]
    await cache.clear_later(tx, keys)


async def clear_department(tx: Tx, company_id: str, department_id: str) -> None:
    """Once this commits, who is in the department is read anew, and how much the company has."""
    await cache.clear_later(tx, [DEPARTMENT_MEMBERS.key(department_id), COMPANY_STATS.key(company_id)])
