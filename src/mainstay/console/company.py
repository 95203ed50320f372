"""The company itself: its name, how long its sessions last, and whether it demands a second factor."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from mainstay import members, mfa
from mainstay.console.drafts import Draft
from mainstay.console.frame import Area
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.kernel.errors import MainstayError

_View = Annotated[Page, Depends(PageMay("company.change"))]
_Secure = Annotated[Page, Depends(PageMay("company.secure", fresh=True))]

PATH = "/console/company"
AREA = Area("Company", PATH, "building-2", "Settings", act="company.change")
_SESSIONS = ("sessionIdleMinutes", "sessionLifetimeHours")
_LIMITS = {"sessionIdleMinutes": "session_idle_minutes", "sessionLifetimeHours": "session_lifetime_hours"}


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The company as it is."""
        return await _show(page)

    @router.post(PATH)
    async def rename(page: _View) -> Response:
        """The company has that name."""
        draft = Draft.of(("name",), page.form)
        try:
            await _change(page, {"name": draft.typed["name"]})
        except MainstayError as refusal:
            if not draft.take(refusal):
                raise
            return await _show(page, named=draft, status=400)
        return page.go(PATH, said=f"The company is called {draft.typed['name']} now.")

    @router.post(PATH + "/sessions")
    async def limit_sessions(page: _Secure) -> Response:
        """Sessions last as long as typed, those that are open too; an empty field leaves it to the service."""
        draft = Draft.of(_SESSIONS, page.form)
        wanted = {column: _whole(draft, name) for name, column in _LIMITS.items()}
        if not draft.wrong:
            try:
                await _change(page, wanted)
            except MainstayError as refusal:
                if not draft.take(refusal):
                    raise
        if draft.wrong:
            return await _show(page, sessions=draft, status=400)
        return page.go(PATH, said="Saved. It holds for sessions that are open, too.")

    _add_demand(router, ground)
    return router


def _add_demand(router: APIRouter, ground: Ground) -> None:
    @router.post(PATH + "/second-factor")
    async def demand(page: _Secure) -> Response:
        """A second factor is demanded from that day on, at once where none is typed, or not any more."""
        if page.form.get("do") == "relent":
            await mfa.relent(ground.home, page.caller)
            return page.go(PATH, said="Nobody needs a second factor any more. Those that are set up stay.")
        draft = Draft.of(("from",), page.form)
        since = _day(draft)
        try:
            if not draft.wrong:
                await mfa.demand(ground.home, page.caller, since=since)
        except MainstayError as refusal:
            if not draft.take(refusal, {"mfa-not-on": "from"}):
                raise
        if draft.wrong:
            return await _show(page, demanded=draft, status=400)
        when = f"from {draft.typed['from']} on" if draft.typed["from"] else "from now on"
        return page.go(PATH, said=f"A second factor is demanded {when}.")


async def _change(page: Page, wanted: Mapping[str, Any]) -> None:
    async with page.ground.home.begin() as tx:
        await members.company.change_company(tx, page.caller, wanted)


async def _show(
    page: Page,
    *,
    named: Draft | None = None,
    sessions: Draft | None = None,
    demanded: Draft | None = None,
    status: int = 200,
) -> Response:
    company = await members.company.read_company(page.ground.home, page.company_id)
    shown = {"sessionIdleMinutes": company.session_idle_minutes, "sessionLifetimeHours": company.session_lifetime_hours}
    return page.show(
        "company.html",
        status=status,
        company=company,
        stats=await members.read_stats(page.ground.home, page.db, page.company_id),
        demand=await mfa.forecast(page.ground.home, page.company_id),
        now=datetime.now(UTC),
        idle=members.company.idle_of(company).total_seconds() * 1_000,
        lifetime=members.company.lifetime_of(company).total_seconds() * 1_000,
        named=named or Draft({"name": company.name}),
        sessions=sessions or Draft({name: "" if own is None else str(own) for name, own in shown.items()}),
        demanded=demanded or Draft({"from": ""}),
    )


def _whole(draft: Draft, name: str) -> int | None:
    text = draft.typed[name]
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        draft.wrong[name] = "Must be a whole number, or empty."
        return None
    return int(text)


def _day(draft: Draft) -> datetime | None:
    text = draft.typed["from"]
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        draft.wrong["from"] = "Must be a day such as 2027-01-31, or empty."
        return None
