"""The audit log's pages as plain requests meet them: one application in this process, a profile for each role."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.tenancy import Tenancy


@dataclass(frozen=True)
class Console:
    """The application in this process, and a browser profile for each role of one company."""

    app: httpx.AsyncClient
    tenancy: Tenancy
    profiles: dict[str, httpx.AsyncClient]
    tokens: dict[str, str]

    async def send(self, **more: Any) -> None:
        """An event is stored."""
        event = {"action": "user.signed_in", "actor": {"id": "u-1"}, **more}
        answer = await self.app.post("/v1/key/workspace/events", json=event, headers=self.tenancy.auth)
        assert answer.status_code == 201

    async def get(self, path: str, role: str = "owner") -> httpx.Response:
        """The page."""
        return await self.profiles[role].get(path)

    async def post(self, path: str, role: str = "owner", **fields: str) -> httpx.Response:
        """The answer to a form of a page."""
        return await self.profiles[role].post(path, data={"csrf": self.tokens[role], **fields})
