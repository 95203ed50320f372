"""Signed checkpoints of live chains: the service's own keys, and a note for where a chain stands."""

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mainstay.events.checkpoints import Checkpoint, write_note
from mainstay.events.errors import EmptyChain
from mainstay.events.queries import chains as queries
from mainstay.kernel.clock import iso
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Connection

KEY_NAME = "mainstay"
_ROUND = 500


class Sealer:
    """Signs checkpoints with a key that is made once, kept sealed in the database, and published."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._key: tuple[str, Ed25519PrivateKey] | None = None

    async def seal(self, connection: Connection, company_id: str, workspace_id: str) -> str:
        """The signed note of where the chain stands now, kept for ever; EmptyChain before the first event."""
        head = await queries.head_of(connection, company_id, workspace_id)
        if head is None or head["seq"] == 0:
            raise EmptyChain
        at = head["seq"], bytes(head["hash"])
        return await self.seal_at(connection, company_id, workspace_id, at, iso(head["received_at"]))

    async def seal_at(
        self, connection: Connection, company_id: str, workspace_id: str, head: tuple[int, bytes], received_at: str
    ) -> str:
        """The signed note of where the chain stood when that event was its head, kept for ever; the first one stays."""
        kept = await queries.checkpoint_at(connection, company_id, workspace_id, head[0])
        if kept is not None:
            return kept
        name, key = await self._signing_key(connection)
        checkpoint = Checkpoint(workspace_id, *head, received_at)
        note = write_note(checkpoint, key_name=name, private_key=key)
        await queries.add_checkpoint(
            connection, company_id, workspace_id, seq=checkpoint.seq, event_hash=checkpoint.hash, note=note
        )
        return note

    async def seal_all(self, connection: Connection) -> int:
        """Up to 500 workspaces that have events beyond their newest checkpoint have one for their head; how many."""
        found = await queries.unchecked_heads_everywhere(connection, _ROUND)
        for row in found:
            await self.seal(connection, str(row["company_id"]), str(row["workspace_id"]))
        return len(found)

    async def _signing_key(self, connection: Connection) -> tuple[str, Ed25519PrivateKey]:
        if self._key is not None:
            return self._key
        rows = await queries.signing_keys_everywhere(connection)
        is_kept = bool(rows)
        if not rows:
            await self._make_key(connection)
            rows = await queries.signing_keys_everywhere(connection)
        name = rows[0]["name"]
        private = self._keyring.open(bytes(rows[0]["private_key_sealed"]), name.encode())
        key = name, Ed25519PrivateKey.from_private_bytes(private)
        # A key made in this transaction may roll back with it: remember only one that was there before.
        if is_kept:
            self._key = key
        return key

    async def _make_key(self, connection: Connection) -> None:
        key = Ed25519PrivateKey.generate()
        sealed = self._keyring.seal(key.private_bytes_raw(), KEY_NAME.encode())
        await queries.add_signing_key_everywhere(connection, KEY_NAME, key.public_key().public_bytes_raw(), sealed)


async def public_keys(connection: Connection) -> Mapping[str, Ed25519PublicKey]:
    """Every key that ever signed checkpoints here, by name."""
    rows = await queries.signing_keys_everywhere(connection)
    return {row["name"]: Ed25519PublicKey.from_public_bytes(bytes(row["public_key"])) for row in rows}
