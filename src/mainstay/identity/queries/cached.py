"""Where a person is shown."""

from mainstay.kernel.db import Connection, Record, Sql

_WHERE_SHOWN = Sql(
    "identity.where_shown",
    """select array(select m.company_id from mainstay.memberships m where m.person_id = $1) as companies,
              array(select d.department_id from mainstay.memberships m join mainstay.department_members d
                      on d.company_id = m.company_id and d.person_id = m.person_id
                    where m.person_id = $1) as departments""",
)


async def where_shown_everywhere(db: Connection, person_id: str) -> Record:
    """The ids of the person's departments and companies."""
    found = await db.row(_WHERE_SHOWN, person_id)
    assert found is not None
    return found
