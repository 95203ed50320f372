"""Functions of the demonstration: orders on their way through several steps, and the shop that places them.

`mainstay up` names this module in MODULES, as a team names its own.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from mainstay.functions import BatchEvents, Concurrency, Cron, Event, Function, Received, Steps, send
from mainstay.kernel.db import GONE, Database
from mainstay.kernel.errors import MainstayError
from mainstay.kernel.logs import logger
from mainstay.kernel.retry import Backoff

_log = logger(__name__)
PLACED, PAID, SHIPPED = "shop/order.placed", "shop/order.paid", "shop/order.shipped"
EVERY_SECONDS: Final = 20.0
_CUSTOMERS: Final = ("u-1001", "u-1002", "u-1003", "u-1004")
_PAID_SHARE, _BUSY_SHARE, _GONE_SHARE = 0.85, 0.3, 0.03
_BUSY_SECONDS, _NEVER = 14, 2**40
_SOON: Final = Backoff("exponential", timedelta(seconds=2))


class CourierBusy(Exception):
    """Nobody of the courier is free now."""


async def fulfil(step: Steps, order: Received) -> dict[str, Any]:
    """An order is reserved, paid, booked with the courier, and the customer told; unpaid it is given up."""
    reserved = await step.run("reserve stock", _reserve, order.data)
    paid = await step.wait_for_event("payment", PAID, match="data.order", timeout=timedelta(minutes=2))
    if paid is None:
        await step.run("release stock", _release, reserved)
        return {"order": order.data["order"], "outcome": "given up: not paid in two minutes"}
    await step.sleep("packing", timedelta(seconds=3))
    booked = await step.run("book the courier", _book, order.data)
    told = {"order": order.data["order"], "tracking": booked["tracking"]}
    await step.send_event("tell the customer", {"name": SHIPPED, "data": told})
    return {**told, "outcome": "shipped"}


async def print_labels(step: Steps, _: Received) -> dict[str, Any]:
    """The labels of several orders are printed at once."""
    orders = [str(event.data["order"]) for event in step.events]
    return {"printed": await step.run("print", _print, orders)}


async def take_stock(step: Steps, _: Received) -> dict[str, Any]:
    """The stock is counted."""
    return {"counted": await step.run("count", _print, ["shelf"])}


functions: Final = (
    Function(
        id="shop.fulfil-order",
        run=fulfil,
        triggers=[Event(PLACED)],
        idempotency="event.data.order",
        concurrency=[Concurrency(2, key="event.data.customer")],
        attempts=4,
        backoff=_SOON,
    ),
    Function(
        id="shop.print-labels", run=print_labels, triggers=[Event(SHIPPED)],
        batch=BatchEvents(max_size=5, timeout=timedelta(seconds=30)),
    ),
    Function(id="shop.take-stock", run=take_stock, triggers=[Cron("*/5 * * * *")]),
)  # fmt: skip
"""What a worker loads from this module."""


async def place_orders(db: Database, company_id: str) -> None:
    """Orders of the company's shop come and most are paid, until cancelled; trouble of the database passes."""
    chance = random.Random()  # noqa: S311 - no secret
    while True:
        order = new_order(chance)
        try:
            await _send(db, company_id, PLACED, order)
            await asyncio.sleep(chance.uniform(2, EVERY_SECONDS / 2))
            if chance.random() < _PAID_SHARE:
                await _send(db, company_id, PAID, {"order": order["order"]})
        except (MainstayError, *GONE) as error:
            _log.warning("an order was not placed", error=type(error).__name__)
        await asyncio.sleep(EVERY_SECONDS / 2)


def new_order(chance: random.Random) -> dict[str, Any]:
    """An order whose courier is free at once, busy for some seconds from now, or gone for good."""
    drawn = chance.random()
    busy = _NEVER if drawn < _GONE_SHARE else time.time() + _BUSY_SECONDS if drawn < _BUSY_SHARE else 0
    return {
        "order": f"A-{chance.randrange(10_000, 100_000)}",
        "customer": chance.choice(_CUSTOMERS),
        "lines": [{"item": f"item-{chance.randrange(100, 200)}", "count": chance.randrange(1, 4)}],
        "courierFreeAt": round(busy),
    }


async def _send(db: Database, company_id: str, name: str, data: Mapping[str, Any]) -> None:
    async with db.begin() as tx:
        await send(tx, [{"name": name, "data": data}], company_id=company_id)


async def _reserve(order: Mapping[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0.12)
    return {"shelf": "north-4", "lines": len(order.get("lines", ()))}


async def _release(reserved: Mapping[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0.05)
    return {"shelf": reserved["shelf"], "released": reserved["lines"]}


async def _book(order: Mapping[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0.2)
    if time.time() < order.get("courierFreeAt", 0):
        raise CourierBusy(f"no courier is free for {order['order']} yet")
    return {"tracking": f"TR-{order['order']}"}


async def _print(what: list[str]) -> int:
    await asyncio.sleep(0.08 * len(what))
    return len(what)
