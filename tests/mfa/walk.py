"""Second factors as the walk over every route needs them: in the state that the route takes, with the code it takes."""

import time
from collections.abc import Mapping

from mainstay.kernel import ids
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Database, Tx
from mainstay.mfa import codes, proving
from tests.mfa.rfc6238 import code_at
from tests.tenancy import test_settings

PATHS = ("/api/v1/auth/mfa/", "/api/v1/members/{person_id}/mfa/", "/internal/people/{person_id}/mfa/")


async def ready_for(db: Database, path: str, given: Mapping[str, str]) -> dict[str, str] | None:
    """Who calls the route, or whom it is about, has the factor that it asks for; its body."""
    secret, recovery, factor_id = codes.new_secret(), codes.new_recovery_codes()[0], ids.new_id()
    is_waiting, is_none = path.endswith("/verify"), path.endswith("/setup")
    sealed = proving.seal_secret(Keyring(test_settings(db.dsn).secret), factor_id, secret)
    async with db.begin() as tx:
        person_id = given["person_id"] if "person_id" in path else await _manager(tx, given["company_id"])
        for table in ("mfa_factors", "recovery_codes"):
            await tx.connection.execute(f"delete from mainstay.{table} where person_id = $1", person_id)
        if not is_none:
            await tx.connection.execute(
                """insert into mainstay.mfa_factors (id, person_id, secret, confirmed_at)
                   values ($1, $2, $3, case when $4 then null else mainstay.now() end)""",
                factor_id, person_id, sealed, is_waiting,
            )  # fmt: skip
            await tx.connection.execute(
                "insert into mainstay.recovery_codes (person_id, digest) values ($1, $2)",
                person_id, codes.digest_of_recovery(recovery),
            )  # fmt: skip
    if is_none or "person_id" in path:
        return None
    return {"code": code_at(secret, int(time.time()) // 30) if is_waiting else recovery}


async def _manager(tx: Tx, company_id: str) -> str:
    """Who calls routes that everybody may."""
    found = await tx.connection.fetchval(
        "select person_id from mainstay.memberships where company_id = $1 and role = 'manager' limit 1", company_id
    )
    return str(found)
