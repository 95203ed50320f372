"""Puts an endpoint's policy where the sender reads it."""

import json
from typing import Any

from mainstay.kernel.db import Database
from tests.webhooks.conftest import KEYRING


async def configure(db: Database, webhook: dict[str, Any], **columns: Any) -> None:
    """The endpoint has these column values; `headers` are sealed."""
    headers = columns.pop("headers", None)
    if headers is not None:
        columns["headers_sealed"] = KEYRING.seal(json.dumps(headers).encode(), webhook["id"].encode())
    names = ", ".join(f"{name} = ${n}" for n, name in enumerate(columns, start=2))
    async with db.connection() as connection:
        await connection.execute(
            f"update mainstay.endpoints set {names} where id = $1", webhook["id"], *columns.values()
        )


async def fetch(db: Database, statement: str, *values: Any) -> list[Any]:
    """The rows of a statement."""
    async with db.connection() as connection:
        return list(await connection.fetch(statement, *values))
