"""One's own account: what people read and change of themselves."""

from typing import Any

import httpx
import pytest

from mainstay.kernel.db import Database, Sql
from tests.accounts.mailbox import announced
from tests.accounts.signing import AUTH, SignedIn, add, log_in
from tests.tenancy import Tenancy

ME = f"{AUTH}/me"


@pytest.fixture
async def ada(api: httpx.AsyncClient, db: Database, tenancy: Tenancy) -> SignedIn:
    """Somebody of the staff who may see events."""
    await add(db, tenancy.company_id, "ada@example.com", "staff")
    await db.run(
        Sql("t", "update mainstay.memberships set features = '{events}' where company_id = $1"), tenancy.company_id
    )
    return await log_in(api, "ada@example.com")


async def test_a_person_sees_who_they_are_and_what_they_may(api: httpx.AsyncClient, ada: SignedIn) -> None:
    answer = await api.get(ME, headers=ada.auth)
    assert answer.headers["cache-control"] == "no-store"
    seen = answer.json()
    assert (seen["role"], seen["features"], seen["isFresh"], seen["emailConfirmed"]) == (
        "staff",
        ["events"],
        True,
        False,
    )
    assert {"account.use", "events.read"} <= set(seen["acts"])
    assert "members.invite" not in seen["acts"]
    assert [one["id"] for one in seen["companies"]] == [seen["companyId"]]
    assert "password" not in answer.text.lower()


async def test_what_is_given_changes_and_what_is_left_out_stays(
    api: httpx.AsyncClient, db: Database, ada: SignedIn
) -> None:
    given = {"title": " Captain ", "phone": "+41 44 123 45 67", "timeZone": "Europe/Zurich", "locale": "de-CH"}
    changed = (await api.patch(ME, json=given, headers=ada.auth)).json()
    assert (changed["title"], changed["phone"], changed["timeZone"], changed["locale"]) == (
        "Captain", "+41 44 123 45 67", "Europe/Zurich", "de-CH",
    )  # fmt: skip
    changed = (await api.patch(ME, json={"name": "Ada B. Lane", "title": None}, headers=ada.auth)).json()
    assert (changed["name"], changed["title"], changed["locale"]) == ("Ada B. Lane", None, "de-CH")
    assert (await api.patch(ME, json={"locale": "de-CH"}, headers=ada.auth)).status_code == 200
    assert [fact["changed"] for fact in await announced(db, "user.updated")] == [
        ["title", "phone", "timeZone", "locale"], ["name", "title"],
    ]  # fmt: skip
    assert "Captain" not in str(await announced(db, "user.updated")), "who changed what is told, not what it says"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "#/name"),
    ({"name": None}, "#/name"),
    ({"name": "Ada\r\nX-Header: 1"}, "#/name"),
    ({"title": ""}, "#/title"),
    ({"title": "x" * 201}, "#/title"),
    ({"title": "a\u0000b"}, "#/title"),
    ({"phone": "call me"}, "#/phone"),
    ({"phone": "1" * 34}, "#/phone"),
    ({"timeZone": "Mars/Olympus"}, "#/timeZone"),
    ({"timeZone": "../etc/passwd"}, "#/timeZone"),
    ({"locale": "german!"}, "#/locale"),
    ({"email": "x@example.com"}, "#"),
    ({"role": "owner"}, "#"),
]


async def test_what_is_wrong_is_pointed_at_and_nothing_changes(
    api: httpx.AsyncClient, db: Database, ada: SignedIn
) -> None:
    for given, pointer in WRONG:
        answer = await api.patch(ME, json={"title": "Captain", **given}, headers=ada.auth)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, pointer), given
        assert (await api.get(ME, headers=ada.auth)).json()["title"] is None
    assert await announced(db, "user.updated") == []
