"""Keys that were found where they should not be: revoked or flagged, and their companies told.

A finder's report is `key.leaked` in the company's log the first time; the text of a key stands nowhere.
"""

from collections.abc import Sequence
from typing import Literal

from mainstay.identity import keys
from mainstay.identity.key_tokens import is_token, without_tokens
from mainstay.identity.queries import keys as key_rows
from mainstay.kernel import outbox
from mainstay.kernel.crypto import digest_of
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.outbox import Actor
from mainstay.kernel.regions import Regions

Outcome = Literal["revoked", "flagged", "ended", "unknown", "no_key"]


async def report(
    regions: Regions, actor: Actor, tokens: Sequence[str], *, source: str, url: str | None, revokes: bool
) -> list[Outcome]:
    """What became of each token: its key is revoked, or known to have leaked, and its company told of it.

    `ended` are keys that worked no more before; they are told of, too. `no_key` has not the form of one.
    """
    outcomes: list[Outcome] = ["unknown" if is_token(token) else "no_key" for token in tokens]
    places: dict[bytes, list[int]] = {}
    for index, token in enumerate(tokens):
        if outcomes[index] == "unknown":
            places.setdefault(digest_of(token), []).append(index)
    facts = {"source": without_tokens(source), "url": None if url is None else without_tokens(url)}
    for _, db in regions.all() if places else ():
        for row in await key_rows.find_leaked_keys_everywhere(db, list(places)):
            outcome = await _settle(db, actor, str(row["company_id"]), str(row["id"]), facts, revokes=revokes)
            for index in places[row["digest"]]:
                outcomes[index] = outcome
    return outcomes


async def _settle(
    db: Database, actor: Actor, company_id: str, key_id: str, facts: dict[str, str | None], *, revokes: bool
) -> Outcome:
    async with db.begin() as tx:
        key = await keys.get_key(tx, company_id, key_id)
        works = key.state in ("working", "ending")
        outcome: Outcome = "ended" if not works else "revoked" if revokes else "flagged"
        if await key_rows.mark_leaked_key(tx, company_id, key_id, str(facts["source"])):
            await _announce(tx, actor, key, facts, outcome)
        if outcome == "revoked":
            await keys.revoke_key(tx, actor, company_id, key_id, reason=f"leaked: {facts['source']}")
    return outcome


async def _announce(tx: Tx, actor: Actor, key: keys.ApiKey, facts: dict[str, str | None], outcome: Outcome) -> None:
    data = {"keyId": key.id, "name": key.name, "prefix": key.prefix, "workspaceId": key.workspace_id}
    await outbox.announce(
        tx, "key.leaked", company_id=key.company_id, actor=actor, data={**data, **facts, "outcome": outcome}
    )
