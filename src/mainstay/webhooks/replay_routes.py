"""Replays over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from mainstay import jobs
from mainstay.web.callers import Caller, Guards
from mainstay.web.json import Answer, json_body, openapi_body
from mainstay.webhooks import repeats, replays
from mainstay.webhooks.answers import NO_ENDPOINT, NOT_VALID, ReplayCount, ReplayList, ReplayShown, told
from mainstay.webhooks.parts import PAGING, Parts, page_of, time_of
from mainstay.webhooks.repeats import ONCE, OnceKey
from mainstay.webhooks.schemas import NewReplay

PAGE_LIMIT = 100
_NOT_NOW = {409: "The webhook is switched off, or has as many running replays as it may have."}
_NO_REPLAY = {404: "There is no such webhook, or no such replay at it."}
_OVER = {409: "The replay has come to its end already."}
_COUNTED = {200: {"description": "With `dryRun`: how many match.", "model": ReplayCount}}


def add(router: APIRouter, parts: Parts, guards: Guards) -> None:
    """The router starts, shows and cancels replays."""

    starting = told(ReplayShown, 202, NOT_VALID, NO_ENDPOINT, _NOT_NOW, ONCE)
    starting["responses"] |= _COUNTED

    @router.post("/{endpoint_id}/replays", openapi_extra=dict(openapi_body(NewReplay)), **starting)
    async def start(
        endpoint_id: str,
        caller: Annotated[Caller, guards.changing],
        wanted: Annotated[NewReplay, Depends(json_body(NewReplay))],
        once_key: OnceKey = None,
    ) -> Answer:
        """Sends again what matches, after what is live; with `dryRun` it only counts (200) and writes nothing."""
        since, until = time_of(wanted.since, "#/since"), time_of(wanted.until, "#/until")
        assert since is not None
        if wanted.dry_run:
            async with parts.db_of(caller).begin(readonly=True) as tx:
                found = await replays.count(
                    tx, wanted, company_id=caller.company_id, endpoint_id=endpoint_id, since=since, until=until
                )
            return Answer({"dryRun": True, "matched": found.matched, "isFloor": found.is_floor})
        async with parts.db_of(caller).begin() as tx:
            claimed = await repeats.claim(tx, caller, once_key, "webhooks.replays", endpoint_id.lower(), wanted)
            if claimed.earlier is not None:
                again = await replays.get(
                    tx, company_id=caller.company_id, endpoint_id=endpoint_id, replay_id=claimed.earlier
                )
                return Answer(again, 202)
            shown = await replays.start(
                tx,
                caller.actor,
                wanted,
                company_id=caller.company_id,
                endpoint_id=endpoint_id,
                since=since,
                until=until,
            )
            await claimed.made(shown["id"])
        await jobs.wake(parts.db_of(caller), jobs.WEBHOOK)
        return Answer(shown, 202)

    @router.get(
        "/{endpoint_id}/replays",
        openapi_extra={"parameters": PAGING},
        **told(ReplayList, 200, NOT_VALID, NO_ENDPOINT),
    )
    async def list_replays(endpoint_id: str, request: Request, caller: Annotated[Caller, guards.reading]) -> Answer:
        """The webhook's replays, newest first."""
        page = page_of(request, parts, f"replays:{caller.company_id}:{endpoint_id.lower()}", most=PAGE_LIMIT)
        found = await replays.read(
            parts.db_of(caller),
            company_id=caller.company_id,
            endpoint_id=endpoint_id,
            before_id=page.position,
            limit=page.limit,
        )
        return page.answer(found.replays, found.next_before)

    @router.get("/{endpoint_id}/replays/{replay_id}", **told(ReplayShown, 200, _NO_REPLAY))
    async def read(endpoint_id: str, replay_id: str, caller: Annotated[Caller, guards.reading]) -> Answer:
        """One replay: its state, how many match, how many are on their way."""
        return Answer(
            await replays.get(
                parts.db_of(caller), company_id=caller.company_id, endpoint_id=endpoint_id, replay_id=replay_id
            )
        )

    @router.post("/{endpoint_id}/replays/{replay_id}/cancel", **told(ReplayShown, 200, _NO_REPLAY, _OVER))
    async def cancel(endpoint_id: str, replay_id: str, caller: Annotated[Caller, guards.changing]) -> Answer:
        """Ends the replay: nothing more is sent again, what is on its way stays so."""
        async with parts.db_of(caller).begin() as tx:
            shown = await replays.cancel(
                tx, caller.actor, company_id=caller.company_id, endpoint_id=endpoint_id, replay_id=replay_id
            )
        return Answer(shown)
