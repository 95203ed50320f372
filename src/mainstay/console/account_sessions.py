"""A person's sessions: where they are signed in, and ending that."""

from fastapi import APIRouter, Response

from mainstay import accounts
from mainstay.console.devices import device_of
from mainstay.console.ground import Ground
from mainstay.console.guards import AnyPage, pages
from mainstay.console.onward import ACCOUNT
from mainstay.console.shown import plural

SESSIONS = f"{ACCOUNT}/sessions"


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(SESSIONS)
    async def show(page: AnyPage) -> Response:
        """The sessions that work, newest first: this one on top."""
        found = await accounts.list_sessions(ground.home, page.caller.id)
        found.sort(key=lambda one: one.id != page.session.id)
        rows = [(one, device_of(one.device), one.id == page.session.id) for one in found]
        return page.show("account_sessions.html", rows=rows, most=accounts.MOST_OPEN)

    @router.post(SESSIONS + "/others/end")
    async def end_others(page: AnyPage) -> Response:
        """All but this one are over."""
        async with ground.home.begin() as tx:
            ended = await accounts.end_sessions(tx, page.caller, but=page.session.id, reason="ended_by_person")
        return page.go(SESSIONS, said=f"{plural(ended, 'other session')} ended.")

    @router.post(SESSIONS + "/{session_id}/end")
    async def end(page: AnyPage, session_id: str) -> Response:
        """That session is over."""
        async with ground.home.begin() as tx:
            await accounts.end_session(tx, page.caller, session_id, reason="ended_by_person")
        return page.go(SESSIONS, said="The session is over: at its next request it is signed out.")

    return router
