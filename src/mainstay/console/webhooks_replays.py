"""Many deliveries of a webhook sent again: how many it would be, the start, how far it is, and its end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Response

from mainstay import jobs, webhooks
from mainstay.console import webhooks_one
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.live import Parts, Subject
from mainstay.console.shown import count
from mainstay.console.trail import trail_of
from mainstay.console.webhooks_words import moments, name_of
from mainstay.kernel.clock import iso
from mainstay.kernel.errors import Invalid, MainstayError

_View = Annotated[Page, Depends(PageMay("webhooks.read"))]
_Edit = Annotated[Page, Depends(PageMay("webhooks.change"))]

PATH = webhooks_one.ONE + "/replays"
SCOPES = {
    "deliveries": "Deliveries, by how they ended",
    "messages": "Every message that it subscribes to",
    "missed": "Only messages that were never tried",
}
STATUSES = {
    "": "Failed or discarded",
    "FAILED": "Failed",
    "DISCARDED": "Discarded",
    "DELIVERED": "Delivered",
}
SHOWN = 20
_LIVE = "/console/live/webhooks/{endpoint_id}/replays"
_PARTS = "webhooks_parts.html"
_TIME = "%Y-%m-%dT%H:%M"


@dataclass(slots=True)
class Asked:
    """The form as it came: `typed` to show again, what is wrong by field, and the two moments."""

    typed: dict[str, str]
    wrong: dict[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None

    def wanted(self) -> webhooks.NewReplay:
        """What the room is asked for; Invalid where the form does not say it."""
        types = self.typed["types"].replace(",", " ").split()
        status = self.typed["status"]
        is_of_deliveries = self.typed["scope"] == "deliveries"
        try:
            return msgspec.convert(
                {
                    "scope": self.typed["scope"],
                    "since": "" if self.since is None else iso(self.since),
                    "until": None if self.until is None else iso(self.until),
                    "status": [status] if status and is_of_deliveries else None,
                    "types": types or None,
                },
                webhooks.NewReplay,
            )
        except msgspec.ValidationError as error:
            raise Invalid(f"Choose one of what is offered: {error}") from error


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(PATH)
    async def show(page: _View, endpoint_id: str) -> Response:
        """The form, and the replays, newest first."""
        return await _page(ground, page, endpoint_id, _blank())

    @router.post(PATH)
    async def ask(page: _Edit, endpoint_id: str) -> Response:
        """How many would be sent again; with `do=start` they are."""
        await webhooks_one.endpoint_of(ground, page, endpoint_id)
        asked, found = read(page.form), None
        try:
            if not asked.wrong and page.form.get("do") == "start":
                matched = await _start(ground, page, endpoint_id, asked)
                href = f"{webhooks_one.PATH}/{endpoint_id}/replays"
                return page.go(href, said=f"Started: {matched} are sent again.")
            if not asked.wrong:
                found = await _count(ground, page, endpoint_id, asked)
        except MainstayError as refusal:
            if refusal.status >= 500 or refusal.status == 404:
                raise
            _take(asked, refusal)
        return await _page(ground, page, endpoint_id, asked, found=found, status=400 if asked.wrong else 200)

    @router.post(PATH + "/{replay_id}/cancel")
    async def cancel(page: _Edit, endpoint_id: str, replay_id: str) -> Response:
        """Nothing more of the replay is sent."""
        async with page.db.begin() as tx:
            await webhooks.cancel_replay(
                tx, page.caller.actor, company_id=page.company_id, endpoint_id=endpoint_id, replay_id=replay_id
            )
        return page.go(f"{webhooks_one.PATH}/{endpoint_id}/replays", said="Cancelled: nothing more of it is sent.")

    @router.get(_LIVE)
    async def follow(page: _View, endpoint_id: str) -> Response:
        """How far the replays are."""
        endpoint = await webhooks_one.endpoint_of(ground, page, endpoint_id)
        company_id, db = page.company_id, page.db

        async def load() -> Parts:
            found = await webhooks.read_replays(db, company_id=company_id, endpoint_id=endpoint_id, limit=SHOWN)
            return {"replays-rows": ground.frame.piece(_PARTS, "replays", endpoint, moments(found.replays))}

        return ground.live.stream(Subject("replays", company_id, endpoint["id"]), page.session.id, load)

    return router


def read(form: Mapping[str, str]) -> Asked:
    """The form as it came; times are in UTC."""
    asked = Asked({**_blank().typed, **{name: form[name] for name in _blank().typed if name in form}})
    asked.since = _moment(asked, "since")
    asked.until = _moment(asked, "until")
    if asked.since is None:
        asked.wrong.setdefault("since", "From when on?")
    return asked


def _blank() -> Asked:
    since = datetime.now(UTC) - timedelta(days=1)
    return Asked({"scope": "deliveries", "status": "", "since": since.strftime(_TIME), "until": "", "types": ""})


def _moment(asked: Asked, name: str) -> datetime | None:
    text = asked.typed[name].strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text[:40])
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        if not 1970 <= moment.year < 2100:
            raise ValueError
    except (ValueError, OverflowError):
        asked.wrong[name] = "Must be a time between 1970 and 2099, such as 2026-01-31T12:00"
        return None
    return moment


def _take(asked: Asked, refusal: MainstayError) -> None:
    """What the room found wrong, at the field where it was typed."""
    for fault in refusal.faults:
        name = fault.pointer.removeprefix("#/").partition("/")[0]
        asked.wrong[name if name in asked.typed else ""] = fault.detail[:1].upper() + fault.detail[1:]
    if not refusal.faults:
        asked.wrong[""] = refusal.detail


async def _count(ground: Ground, page: Page, endpoint_id: str, asked: Asked) -> str:
    assert asked.since is not None
    async with page.db.begin(readonly=True) as tx:
        found = await webhooks.count_replay(
            tx,
            asked.wanted(),
            company_id=page.company_id,
            endpoint_id=endpoint_id,
            since=asked.since,
            until=asked.until,
        )
    return _words(found.matched, is_floor=found.is_floor)


async def _start(ground: Ground, page: Page, endpoint_id: str, asked: Asked) -> str:
    assert asked.since is not None
    async with page.db.begin() as tx:
        made = await webhooks.start_replay(
            tx,
            page.caller.actor,
            asked.wanted(),
            company_id=page.company_id,
            endpoint_id=endpoint_id,
            since=asked.since,
            until=asked.until,
        )
    await jobs.wake(page.db, webhooks.QUEUE)
    return _words(made["matched"], is_floor=made["isFloor"])


def _words(matched: int, *, is_floor: bool) -> str:
    return f"{count(matched)}{' or more' if is_floor else ''} {'message' if matched == 1 else 'messages'}"


async def _page(
    ground: Ground, page: Page, endpoint_id: str, asked: Asked, *, found: str | None = None, status: int = 200
) -> Response:
    path = f"{webhooks_one.PATH}/{endpoint_id}/replays"
    trail = trail_of(path, {}, page.request.query_params)
    scope = f"console:replays:{page.company_id}:{endpoint_id.lower()}"
    before = None if trail.cursor is None else str(ground.cursors.open(scope, trail.cursor)[0])
    endpoint: dict[str, Any] = await webhooks_one.endpoint_of(ground, page, endpoint_id)
    listed = await webhooks.read_replays(
        page.db, company_id=page.company_id, endpoint_id=endpoint_id, before_id=before, limit=SHOWN
    )
    older = None if listed.next_before is None else ground.cursors.seal(scope, [listed.next_before])
    return page.show(
        "webhooks_replays.html",
        status=status,
        endpoint=moments(endpoint),
        name=name_of(endpoint),
        asked=asked,
        found=found,
        scopes=list(SCOPES.items()),
        statuses=list(STATUSES.items()),
        replays=moments(listed.replays),
        newer=trail.newer,
        older=trail.older(older),
        live=_LIVE.format(endpoint_id=endpoint["id"]) if before is None else "",
    )
