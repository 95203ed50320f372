"""Statements on invitations."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from mainstay.kernel.db import Connection, Record, Sql, Tx, count_of

_STATE = """case when i.accepted_at is not null then 'accepted' when i.withdrawn_at is not null then 'withdrawn'
            when i.expires_at <= mainstay.now() then 'expired' else 'open' end"""
_SHOWN = f"""i.id, i.company_id, i.email, i.email_key, i.role, i.features, i.invited_by::text as invited_by,
       i.created_at, i.sent_at, i.sent, i.expires_at, i.accepted_at, i.accepted_by, i.withdrawn_at, {_STATE} as state"""
_PUT = Sql(
    "members.put_invitation",
    f"""insert into mainstay.invitations as i (company_id, id, email, email_key, role, features, invited_by, expires_at)
        values ($1, $2, $3, $4, $5, $6, $7::jsonb, mainstay.now() + $8::interval)
        on conflict (company_id, email_key) where accepted_at is null and withdrawn_at is null do update
          set email = excluded.email, role = excluded.role, features = excluded.features,
              invited_by = excluded.invited_by, sent_at = mainstay.now(), sent = i.sent + 1,
              expires_at = excluded.expires_at
        returning {_SHOWN}""",  # noqa: S608 (constants)
)
_RENEW = Sql(
    "members.renew_invitation",
    f"""update mainstay.invitations i
        set sent_at = mainstay.now(), sent = i.sent + 1, expires_at = mainstay.now() + $3::interval,
            invited_by = $4::jsonb
        where i.company_id = $1 and i.id = $2 and i.accepted_at is null and i.withdrawn_at is null
        returning {_SHOWN}""",  # noqa: S608 (constants)
)
_WITHDRAW = Sql(
    "members.withdraw_invitation",
    f"""update mainstay.invitations i set withdrawn_at = mainstay.now()
        where i.company_id = $1 and i.id = $2 and i.accepted_at is null and i.withdrawn_at is null
        returning {_SHOWN}""",  # noqa: S608 (constants)
)
_ACCEPT = Sql(
    "members.accept_invitation",
    """update mainstay.invitations set accepted_at = mainstay.now(), accepted_by = $3
       where company_id = $1 and id = $2 and accepted_at is null and withdrawn_at is null
         and expires_at > mainstay.now()""",
)
_GET = Sql(
    "members.get_invitation",
    f"select {_SHOWN} from mainstay.invitations i where i.company_id = $1 and i.id = $2",  # noqa: S608 (constants)
)
_OPEN_FOR = Sql(
    "members.open_invitation_for",
    f"""select {_SHOWN} from mainstay.invitations i where i.company_id = $1 and i.email_key = $2
        and i.accepted_at is null and i.withdrawn_at is null""",  # noqa: S608 (constants)
)
_LIST = Sql(
    "members.list_invitations",
    f"""select {_SHOWN} from mainstay.invitations i where i.company_id = $1 and ($2::text is null or {_STATE} = $2)
          and ($3::uuid is null or i.id < $3) order by i.id desc limit $4""",  # noqa: S608 (constants)
)
_COUNT = Sql(
    "members.count_invitations",
    f"""select count(*) from mainstay.invitations i
        where i.company_id = $1 and ($2::text is null or {_STATE} = $2)""",  # noqa: S608 (constants)
)
_PRUNE = Sql(
    "members.prune_invitations",
    """delete from mainstay.invitations
       where coalesce(accepted_at, withdrawn_at, expires_at) < mainstay.now() - $1::interval""",
)
_IS_MEMBER = Sql(
    "members.is_member_by_email",
    """select true from mainstay.memberships m join mainstay.people p on p.id = m.person_id
       where m.company_id = $1 and p.email_key = $2""",
)


async def put_invitation(tx: Tx, company_id: str, row: Mapping[str, Any], lifetime: timedelta) -> Record:
    """The open invitation of that address: a new one, or the one that there was, with what it is for now."""
    given = (row["id"], row["email"], row["email_key"], row["role"], list(row["features"]), row["invited_by"])
    found = await tx.row(_PUT, company_id, *given, lifetime)
    assert found is not None
    return found


async def renew_invitation(
    tx: Tx, company_id: str, invitation_id: str, lifetime: timedelta, *, by: str
) -> Record | None:
    """The invitation, sent once more just now and by whom; None where it was accepted or withdrawn."""
    return await tx.row(_RENEW, company_id, invitation_id, lifetime, by)


async def withdraw_invitation(tx: Tx, company_id: str, invitation_id: str) -> Record | None:
    """The invitation, withdrawn just now; None where it was accepted or withdrawn."""
    return await tx.row(_WITHDRAW, company_id, invitation_id)


async def accept_invitation(tx: Tx, company_id: str, invitation_id: str, person_id: str) -> bool:
    """Whether the person accepted the open invitation just now."""
    return count_of(await tx.run(_ACCEPT, company_id, invitation_id, person_id)) == 1


async def find_invitation(db: Connection, company_id: str, invitation_id: str) -> Record | None:
    """One invitation."""
    return await db.row(_GET, company_id, invitation_id)


async def find_open_for(db: Connection, company_id: str, email_key: str) -> Record | None:
    """The invitation of that address that was neither accepted nor withdrawn."""
    return await db.row(_OPEN_FOR, company_id, email_key)


async def list_invitations(
    db: Connection, company_id: str, *, state: str | None, before: str | None, limit: int
) -> list[Record]:
    """Invitations, newest first."""
    return await db.rows(_LIST, company_id, state, before, limit)


async def count_invitations(db: Connection, company_id: str, state: str | None) -> int:
    """How many invitations are in that state, or in any."""
    return int(await db.value(_COUNT, company_id, state))


async def is_member_by_email(db: Connection, company_id: str, email_key: str) -> bool:
    """Whether somebody with that address is a member."""
    return await db.value(_IS_MEMBER, company_id, email_key) is True


async def prune_invitations_everywhere(db: Connection, older_than: timedelta) -> int:
    """How many invitations are gone that were accepted, withdrawn or over longer ago."""
    return count_of(await db.run(_PRUNE, older_than))
