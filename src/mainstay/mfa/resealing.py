"""Secrets that are sealed under an older master secret are sealed anew, so that the older one can be given up."""

from typing import Any

from mainstay.kernel.crypto import Keyring, Unsealable
from mainstay.kernel.db import Database
from mainstay.kernel.logs import logger
from mainstay.mfa import proving
from mainstay.mfa.queries import factors as rows

_log = logger(__name__)
_BATCH = 500


async def reseal(db: Database, keyring: Keyring) -> int:
    """Every secret that opens is sealed under the current master secret; how many were sealed anew."""
    done, after, lost = 0, None, 0
    while batch := await rows.sealed_after_everywhere(db, after, limit=_BATCH):
        for row in batch:
            try:
                done += await _reseal_one(db, keyring, row["id"], bytes(row["secret"]))
            except Unsealable:
                lost += 1
        after = batch[-1]["id"]
    if lost:
        _log.error("second factors cannot be opened: MAINSTAY_SECRET_PREVIOUS lacks their master secret", factors=lost)
    return done


async def _reseal_one(db: Database, keyring: Keyring, factor_id: Any, sealed: bytes) -> bool:
    if keyring.is_current(sealed):
        return False
    secret = proving.open_secret(keyring, str(factor_id), sealed)
    fresh = proving.seal_secret(keyring, str(factor_id), secret)
    return await rows.reseal_everywhere(db, factor_id, old=sealed, new=fresh)
