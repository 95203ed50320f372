"""One webhook: how it stands, its figures and its deliveries, live."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Response

from mainstay import identity, webhooks
from mainstay.console.ground import Ground
from mainstay.console.guards import Page, PageMay, pages
from mainstay.console.live import Parts, Subject
from mainstay.console.shown import count
from mainstay.console.trail import address, trail_of
from mainstay.console.webhooks_words import confirmation_of, moments, name_of, percent, state_of
from mainstay.kernel.db import Connection, Database
from mainstay.kernel.errors import Fault, Invalid

_View = Annotated[Page, Depends(PageMay("webhooks.read"))]

PATH = "/console/webhooks"
ONE = PATH + "/{endpoint_id}"
STATUSES = ("PENDING", "RETRYING", "DELIVERED", "FAILED", "DISCARDED")
WINDOWS = {"hour": "Last hour", "day": "Last day", "month": "Last 30 days"}
OVERLAPS = {"86400": "1 day", "3600": "1 hour", "604800": "7 days", "0": "none: the old one ends at once"}
SHOWN = 25
_MOST_TYPES = 200
_LIVE = "/console/live/webhooks/{endpoint_id}"
_PARTS = "webhooks_parts.html"


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart of the window, with its total as the figure beside it."""

    id: str
    title: str
    unit: str
    points: Sequence[tuple[datetime, int]]
    meaning: Literal["accent", "bad"]
    kind: Literal["line", "bars"]

    @property
    def values(self) -> list[int]:
        """The points without their times."""
        return [value for _, value in self.points]

    @property
    def now(self) -> str:
        """How many there were in the whole window."""
        return count(sum(self.values))


def routes(ground: Ground) -> APIRouter:
    """The routes."""
    router = pages()

    @router.get(ONE)
    async def show(page: _View, endpoint_id: str) -> Response:
        """The webhook and its deliveries."""
        return page.show("webhooks_one.html", **await read(ground, page, endpoint_id))

    @router.get(_LIVE)
    async def follow(page: _View, endpoint_id: str) -> Response:
        """What changes at the webhook."""
        endpoint = await endpoint_of(ground, page, endpoint_id)
        company_id, db, kept = page.company_id, page.db, kept_of(page.request.query_params)

        async def load() -> Parts:
            return parts_of(ground, await _read(ground, db, company_id, endpoint["id"], kept, None))

        subject = Subject("webhook", company_id, address(endpoint["id"], kept))
        return ground.live.stream(subject, page.session.id, load)

    return router


async def endpoint_of(ground: Ground, page: Page, endpoint_id: str) -> dict[str, Any]:
    """The company's webhook as its people read it; EndpointNotFound where it has none of that id."""
    return await webhooks.read_endpoint(
        page.db, company_id=page.company_id, endpoint_id=endpoint_id, keyring=ground.keyring
    )


def kept_of(query: Mapping[str, str]) -> dict[str, str]:
    """The filters of an address; Invalid for one that there is not."""
    for name, known in (("status", STATUSES), ("window", tuple(WINDOWS))):
        if query.get(name) and query[name] not in known:
            raise Invalid(faults=[Fault(f"must be one of {', '.join(known)}", name)])
    return {name: query[name] for name in ("status", "window") if query.get(name)}


async def read(ground: Ground, page: Page, endpoint_id: str) -> dict[str, Any]:
    """Everything that the page of one webhook shows."""
    kept = kept_of(page.request.query_params)
    path = f"{PATH}/{endpoint_id}"
    trail = trail_of(path, kept, page.request.query_params)
    scope = f"console:deliveries:{page.company_id}:{endpoint_id.lower()}"
    before = None if trail.cursor is None else str(ground.cursors.open(scope, trail.cursor)[0])
    seen = await _read(ground, page.db, page.company_id, endpoint_id, kept, before)
    older = None if seen["next_before"] is None else ground.cursors.seal(scope, [seen["next_before"]])
    types = await webhooks.read_types(page.db, company_id=page.company_id, limit=_MOST_TYPES)
    return {
        **seen,
        "newer": trail.newer,
        "older": trail.older(older),
        "live": address(_LIVE.format(endpoint_id=seen["endpoint"]["id"]), kept) if trail.cursor is None else "",
        "types": [one["name"] for one in types.types if one["example"] is not None],
        "statuses": [((name or "All").capitalize(), _with(path, kept, "status", name), kept.get("status", "") == name)
                     for name in ("", *STATUSES)],
        "windows": [(words, _with(path, kept, "window", name), kept.get("window", "hour") == name)
                    for name, words in WINDOWS.items()],
        "overlaps": list(OVERLAPS.items()),
        "confirmation": confirmation_of(seen["endpoint"]),
        "delivery": None,
    }  # fmt: skip


def _with(path: str, kept: Mapping[str, str], name: str, value: str) -> str:
    return address(path, {key: one for key, one in {**kept, name: value}.items() if one})


async def _read(
    ground: Ground, db: Database, company_id: str, endpoint_id: str, kept: Mapping[str, str], before: str | None
) -> dict[str, Any]:
    """What the page shows of the company's webhook and what its live parts renew."""
    async with db.begin(readonly=True) as tx:
        endpoint = await webhooks.read_endpoint(
            tx, company_id=company_id, endpoint_id=endpoint_id, keyring=ground.keyring
        )
        figures = await webhooks.read_figures(
            tx,
            company_id=company_id,
            endpoint_id=endpoint["id"],
            window=kept.get("window", "hour"),  # type: ignore[arg-type]
        )
        log = await webhooks.read_log(
            tx,
            company_id=company_id,
            endpoint_id=endpoint_id,
            before_id=before,
            status=kept.get("status"),
            limit=SHOWN,
        )
        replays = await webhooks.read_replays(tx, company_id=company_id, endpoint_id=endpoint_id, limit=5)
        workspace = await _workspace(tx, company_id, endpoint["workspaceId"])
    return {
        "endpoint": moments(endpoint),
        "name": name_of(endpoint),
        "state": state_of(endpoint),
        "workspace": workspace,
        "figures": figures,
        "success": percent(figures["totals"]["successShare"]),
        "charts": _charts(figures, WINDOWS[kept.get("window", "hour")].lower()),
        "deliveries": moments(log.deliveries),
        "next_before": log.next_before,
        "kept": dict(kept),
        "running": [moments(one) for one in replays.replays if one["state"] == "running"],
    }


async def _workspace(tx: Connection, company_id: str, workspace_id: str | None) -> str:
    found = None if workspace_id is None else await identity.find_workspace(tx, company_id, workspace_id)
    return "all workspaces" if workspace_id is None else getattr(found, "name", workspace_id)


def _charts(figures: Mapping[str, Any], unit: str) -> list[Figure]:
    tries = [(datetime.fromisoformat(one["bucket"]), one) for one in figures["series"]]
    return [
        Figure("attempts", "Tries", unit, [(at, one["attempts"]) for at, one in tries], "accent", "line"),
        Figure("failed", "Failed tries", unit, [(at, one["failed"]) for at, one in tries], "bad", "bars"),
    ]


def parts_of(ground: Ground, seen: Mapping[str, Any]) -> dict[str, str]:
    """The live parts of the page by the id of their element."""
    piece = ground.frame.piece
    parts = {
        "webhook-verdict": piece(_PARTS, "verdict", seen["endpoint"], seen["state"], seen["figures"], seen["success"]),
        "webhook-figures": piece(_PARTS, "figures", seen["figures"], seen["success"]),
        "webhook-replays": piece(_PARTS, "running", seen["endpoint"], seen["running"]),
        "webhook-deliveries": piece(_PARTS, "deliveries", seen["endpoint"], seen["deliveries"], seen["kept"]),
    }
    for chart in seen["charts"]:
        parts[f"chart-{chart.id}-now"] = chart.now
        parts[f"chart-{chart.id}-data"] = piece("pieces.html", "chart_data", chart)
    return parts
