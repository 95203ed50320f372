"""The trickle of events of the demonstration: sent over HTTP as a customer's program would send them."""

import asyncio
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from mainstay.cli.demo_company import DemoCompany

PER_SECOND = 2.0
PRODUCTION_SHARE = 0.8
RETRY_SECONDS = 1.0
_TIMEOUT = aiohttp.ClientTimeout(total=10)

_PEOPLE = (
    {"id": "u-1001", "email": "ines@acme.example", "name": "Ines Ortega"},
    {"id": "u-1002", "email": "liam@acme.example", "name": "Liam Byrne"},
    {"id": "u-1003", "email": "noor@acme.example", "name": "Noor Haddad"},
    {"id": "u-1004", "email": "tomasz@acme.example", "name": "Tomasz Wilk"},
)
_KINDS: tuple[tuple[str, str, str, int], ...] = (
    ("user.login", "auth", "session", 5),
    ("user.login_failed", "auth", "session", 1),
    ("user.invited", "people", "user", 1),
    ("document.created", "documents", "document", 3),
    ("document.shared", "documents", "document", 2),
    ("document.exported", "documents", "document", 1),
    ("invoice.sent", "billing", "invoice", 1),
    ("invoice.paid", "billing", "invoice", 2),
    ("settings.changed", "settings", "workspace", 1),
)
"""Action, category, type of the target, weight."""


@dataclass(slots=True)
class Trickle:
    """Sends events until cancelled; an event that meets trouble is sent again under its key until it is stored."""

    url: str
    company: DemoCompany
    chance: random.Random = field(default_factory=random.Random)
    sent: int = 0
    failed: int = 0
    last_trouble: str = ""

    async def run(self) -> None:
        """About two events a second, one at a time."""
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while True:
                await self._send(session, str(uuid.uuid4()), self.make_event())
                await asyncio.sleep(self.chance.expovariate(PER_SECOND))

    async def _send(self, session: aiohttp.ClientSession, key: str, event: Mapping[str, Any]) -> None:
        is_production = self.chance.random() < PRODUCTION_SHARE
        token = self.company.workspaces[0 if is_production else 1].key
        headers = {"authorization": f"Bearer {token}", "idempotency-key": key}
        while True:
            try:
                async with session.post(f"{self.url}/v1/key/workspace/events", json=event, headers=headers) as answer:
                    if answer.status == 201:
                        self.sent += 1
                        return
                    self.last_trouble = f"{answer.status} {(await answer.text())[:200]}"
                    is_final = answer.status < 500 and answer.status not in (408, 409, 429)
            except (aiohttp.ClientError, TimeoutError) as error:
                self.last_trouble, is_final = f"{type(error).__name__} {error}", False
            self.failed += 1
            if is_final:
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def send_batch(self, workspace: int, many: int) -> bool:
        """Whether so many events are stored at once in that workspace of the company."""
        headers = {"authorization": f"Bearer {self.company.workspaces[workspace].key}"}
        events = [self.make_event() for _ in range(many)]
        url = f"{self.url}/v1/key/workspace/events/batch"
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.post(url, json={"events": events}, headers=headers) as answer,
        ):
            return answer.status == 200

    def make_event(self) -> dict[str, Any]:
        """An event as a product like the customer's would send it."""
        action, category, kind, _ = self.chance.choices(_KINDS, weights=[weight for *_, weight in _KINDS])[0]
        number = self.chance.randrange(1_000, 10_000)
        event: dict[str, Any] = {
            "action": action,
            "category": category,
            "actor": self.chance.choice(_PEOPLE),
            "target": {"id": f"{kind}-{number}", "type": kind},
            "metadata": {"ip": f"203.0.113.{self.chance.randrange(1, 255)}", "source": "demonstration"},
        }
        if category == "billing":
            event["payload"] = {"amount": number * 10, "currency": "EUR"}
        if action == "settings.changed":
            event["changes"] = [{"field": "retentionDays", "old": 30, "new": self.chance.choice([60, 90, 180])}]
        return event
