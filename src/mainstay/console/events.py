"""The company's events: a list that follows live, filters that are its address, and each event with its proof."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Response

from mainstay import events, identity
from mainstay.console import saved_filters
from mainstay.console.frame import Action, Area
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.live import Parts, Subject
from mainstay.console.trail import Trail, address, trail_of
from mainstay.kernel.clock import iso
from mainstay.kernel.db import Record
from mainstay.kernel.errors import Invalid

_View = Annotated[Page, Depends(PageMay("events.read"))]

PATH = "/console/events"
AREA = Area(
    "Events",
    PATH,
    "scroll-text",
    "Audit log",
    (Action("Events of the last hour", f"{PATH}?from=1h"),),
    act="events.read",
)
FILTERS = {
    "action": "Action", "actorId": "Actor id", "actorEmail": "Actor email", "targetId": "Target id",
    "category": "Category", "projectId": "Project", "text": "Text", "from": "From", "to": "To",
}  # fmt: skip
WINDOWS = {"1h": timedelta(hours=1), "24h": timedelta(hours=24), "7d": timedelta(days=7)}
_WINDOW_WORDS = {"": "Any time", "1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days"}
EXPORTS: Mapping[Literal["csv", "json", "ndjson"], str] = {
    "csv": "for spreadsheets",
    "json": "one document",
    "ndjson": "an event a line",
}
_SHOWN = 50
_MOST_WORKSPACES = 200
_LIVE = "/console/live/events"
_PARTS = "events_parts.html"
_ROWS = "events-rows"


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of the list: rows, how many there are in all, and where it stands."""

    found: events.Page
    trail: Trail
    kept: Mapping[str, str]
    workspaces: Mapping[str, str]

    @property
    def live(self) -> str:
        """Where the list is followed; '' for a page to which nothing is added any more."""
        return "" if self.trail.cursor or "to" in self.kept else address(_LIVE, self.kept)


class Tail:
    """The newest events of a scope, kept up to date for all who look at the same list."""

    def __init__(self, reader: events.Reader, company_id: str, workspace_id: str, filters: events.Filters) -> None:
        self._reader = reader
        self._company_id = company_id
        self._workspace_id = workspace_id or None
        self._filters = filters
        self._cursor: str | None = None
        self.rows: list[Record] = []

    async def has_grown(self) -> bool:
        """Whether events were added since the last time; those passed over in a rush are left to the list itself."""
        found = await self._follow(self._cursor)
        if found.has_more:
            found, self.rows = await self._follow(None), []
        self._cursor = found.cursor
        self.rows = [*reversed(found.rows), *self.rows][:_SHOWN]
        return bool(found.rows)

    async def _follow(self, cursor: str | None) -> events.Followed:
        return await self._reader.follow(
            self._company_id, self._filters, workspace_id=self._workspace_id, limit=_SHOWN, cursor=cursor
        )


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()
    readers = ground.regions.each(lambda db: events.Reader(db, ground.cursors))

    @router.get(PATH)
    async def show(page: _View) -> Response:
        """The list, newest first."""
        query, kept = page.request.query_params, kept_of(page.request.query_params)
        if "add" in query:
            return page.go(address(PATH, with_filter(kept, query["add"], query.get("value", ""))))
        try:
            listed = await _read(readers[page.region], page, kept)
        except Invalid as wrong:
            return page.show("events.html", status=400, **{**await _frame_of(page, kept), "wrong": words_of(wrong)})
        return page.show("events.html", **{**await _frame_of(page, kept), "listed": listed})

    router.include_router(_exports(ground))
    router.include_router(_saving())

    @router.get(PATH + "/{event_id}")
    async def show_one(page: _View, event_id: str) -> Response:
        """One event with its place in the chain, beside the list that it was opened from."""
        reader = readers[page.region]
        row = await reader.get(page.company_id, event_id, workspace_id=None)
        kept = kept_of(page.request.query_params)
        detail = {
            "event": row,
            "place": await reader.place_of(row),
            "raw": orjson.loads(events.flat(row)),
            "changes": changes_of(row["changes"]),
            "workspace": await identity.find_workspace(ground.home, page.company_id, str(row["workspace_id"])),
            "close": address(PATH, kept),
        }
        if page.wanted == "panel":
            return page.show("events.html", **{**await _frame_of(page, kept), **detail})
        try:
            detail["listed"] = await _read(readers[page.region], page, kept)
        except Invalid as wrong:
            detail["wrong"] = words_of(wrong)
        return page.show("events.html", **{**await _frame_of(page, kept), **detail})

    @router.get(_LIVE)
    async def follow(page: _View) -> Response:
        """What is added to the list."""
        kept = kept_of(page.request.query_params)
        tail = Tail(readers[page.region], page.company_id, page.workspace_id, filters_of(kept, datetime.now(UTC)))
        workspaces = await _workspaces(page)
        shown = ""

        async def load() -> Parts:
            nonlocal shown
            if await tail.has_grown():
                shown = ground.frame.piece(_PARTS, "rows", tail.rows, kept, workspaces)
            return {_ROWS: shown}

        subject = Subject("events", page.company_id, address(page.workspace_id, kept))
        return ground.live.stream(subject, page.session.id, load)

    return router


def _exports(ground: Ground) -> APIRouter:
    router = pages()

    def add(form: Literal["csv", "json", "ndjson"]) -> None:
        @router.get(f"{PATH}/export.{form}")
        async def export(page: _View) -> Response:
            """All that the list shows under these filters, oldest first, up to what the plan allows an export."""
            filters = filters_of(kept_of(page.request.query_params), datetime.now(UTC))
            workspace_id = page.workspace_id or None
            return await ground.exporter.answer(page.caller, filters=filters, form=form, workspace_id=workspace_id)

    for form in EXPORTS:
        add(form)
    return router


def _saving() -> APIRouter:
    router = pages()

    @router.post(PATH + "/saved")
    async def save(page: _View) -> Response:
        """The person keeps these filters under a name."""
        kept = kept_of(page.form)
        filters_of(kept, datetime.now(UTC))
        async with page.db.begin() as tx:
            name = await saved_filters.save(
                tx, page.company_id, page.caller.id, name=page.form.get("as", ""), filters=kept
            )
        return page.go(address(PATH, kept), said=f"Kept as {name}: one click away from now on.")

    @router.post(PATH + "/saved/delete")
    async def delete(page: _View) -> Response:
        """The person does not keep them any more."""
        async with page.db.begin() as tx:
            await saved_filters.delete(tx, page.company_id, page.caller.id, page.form.get("saved", ""))
        return page.go(address(PATH, kept_of(page.form)), said="The saved filters are deleted.")

    return router


def kept_of(query: Mapping[str, str]) -> dict[str, str]:
    """The filters of an address, in one order."""
    return {name: query[name] for name in FILTERS if query.get(name)}


def with_filter(kept: Mapping[str, str], name: str, value: str) -> dict[str, str]:
    """The filters with one more, or with another value of one; as they were where the new one says nothing."""
    return kept_of({**kept, name: value.strip()} if value.strip() else kept)


def filters_of(kept: Mapping[str, str], now: datetime) -> events.Filters:
    """The filters as the list takes them; `from` may be 1h, 24h or 7d before now. Invalid names what is wrong."""
    since = WINDOWS.get(kept.get("from", ""))
    return events.filters_of(kept if since is None else {**kept, "from": iso(now - since)})


def words_of(wrong: Invalid) -> list[str]:
    """What is wrong with an address, a sentence each."""
    return [f"{FILTERS.get(fault.pointer, fault.pointer)} {fault.detail}." for fault in wrong.faults] or [wrong.detail]


def changes_of(text: str | None) -> list[tuple[str, str, str]]:
    """Field, before and after, each value as JSON."""
    return [(one["field"], _json(one.get("old")), _json(one.get("new"))) for one in orjson.loads(text or "[]")]


async def _read(reader: events.Reader, page: Page, kept: Mapping[str, str]) -> Listed:
    trail = trail_of(PATH, kept, page.request.query_params)
    found = await reader.page(
        page.company_id,
        filters_of(kept, datetime.now(UTC)),
        workspace_id=page.workspace_id or None,
        limit=_SHOWN,
        cursor=trail.cursor,
    )
    return Listed(found, trail, kept, await _workspaces(page))


async def _workspaces(page: Page) -> dict[str, str]:
    """The names of the company's workspaces by id, where the list shows events of several."""
    if page.workspace_id:
        return {}
    found = await identity.list_workspaces(page.ground.home, page.company_id, limit=_MOST_WORKSPACES)
    return {workspace.id: workspace.name for workspace in found}


async def _frame_of(page: Page, kept: Mapping[str, str]) -> dict[str, Any]:
    """What stands around the list, whatever is in it; nothing where the panel alone is wanted."""
    if page.wanted == "panel":
        return {"kept": kept}
    base = page.ground.settings.public_url or str(page.request.base_url)
    standing = await page.ground.usage.book.standing(page.ground.home, page.company_id)
    saved = await saved_filters.list_saved(page.db, page.company_id, page.caller.id)
    return {
        "plan": standing.plan,
        "cap": standing.export_rows,
        "exports": [(form.upper(), words, address(f"{PATH}/export.{form}", kept)) for form, words in EXPORTS.items()],
        "saved": [(one, address(PATH, kept_of(one.filters)), kept_of(one.filters) == kept) for one in saved],
        "kept": kept,
        "names": list(FILTERS.items()),
        "chosen": _set_filters(kept),
        "windows": [
            (words, address(PATH, _window(kept, name)), kept.get("from", "") == name)
            for name, words in _WINDOW_WORDS.items()
        ],
        "base": base.rstrip("/"),
        "listed": None,
        "event": None,
        "wrong": None,
    }


def _window(kept: Mapping[str, str], name: str) -> dict[str, str]:
    return kept_of({**{key: value for key, value in kept.items() if key not in ("from", "to")}, "from": name})


def _set_filters(kept: Mapping[str, str]) -> Sequence[tuple[str, str, str]]:
    """Label, value and the address without it; a window before now has its own place."""
    return [
        (FILTERS[name], value, address(PATH, {key: other for key, other in kept.items() if key != name}))
        for name, value in kept.items()
        if not (name == "from" and value in WINDOWS)
    ]


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
