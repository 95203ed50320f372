"""Applications that serve functions: what they say of them, on record, and in the registry of every process."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

import orjson

from mainstay.functions import protocol
from mainstay.functions.calling import CALL_SECONDS, MOST_ANSWER_BYTES, Caller
from mainstay.functions.declaring import (
    BatchEvents,
    CancelOn,
    Concurrency,
    Debounce,
    Event,
    Function,
    RateLimit,
    Throttle,
)
from mainstay.functions.errors import AppRefused, FunctionError
from mainstay.functions.queries import apps as rows
from mainstay.functions.queries import sending as key_rows
from mainstay.functions.registry import Registry
from mainstay.functions.starting import Start, made_up, start
from mainstay.kernel import cron, ids, outbox
from mainstay.kernel.addresses import AllowList
from mainstay.kernel.crypto import digest_of
from mainstay.kernel.db import Connection, Tx
from mainstay.kernel.errors import Fault
from mainstay.kernel.logs import logger
from mainstay.kernel.outbound import Outbound
from mainstay.kernel.work import Cron

_log = logger(__name__)
MAX_FUNCTIONS = 1_000
_DEFAULT_RETRIES = 4
_MOST_RETRIES = 20
_NOT_HERE = ("singleton", "timeouts", "priority")
_MISSED = timedelta(minutes=5)
_CRON_EVENT = "inngest/scheduled.timer"
_NOT_SERVED = (ValueError, TypeError, KeyError, AttributeError)


class Serving:
    """Keeps a registry current with the applications on record; without a signing key there are none."""

    def __init__(self, registry: Registry, signing_key: str | None, allow: AllowList) -> None:
        self.registry = registry
        self._key = signing_key
        self._version = 0
        self._crons: dict[str, list[tuple[Function, Cron]]] = {}
        self._outbound = Outbound(allow=allow, max_response_bytes=MOST_ANSWER_BYTES, timeout_seconds=CALL_SECONDS)

    async def refresh(self, db: Connection) -> None:
        """What was registered until now is known."""
        if self._key is None:
            return
        for row in await rows.newer_apps_everywhere(db, self._version):
            if row["version"] <= self._version:
                continue
            self._version = row["version"]
            try:
                served = [self._served(row["url"], one) for one in orjson.loads(row["functions"])]
                self.registry.serve(row["id"], served)
            except _NOT_SERVED as error:
                # One application must not keep events from the functions of all others.
                _log.error("an application on record cannot be served", app=row["id"], error=str(error))
                continue
            self._crons[row["id"]] = [
                (one, slots) for one in served for slots in one.triggers if isinstance(slots, Cron)
            ]

    async def close(self) -> None:
        """No application is called any more."""
        await self._outbound.close()

    async def start_by_clock(self, tx: Tx) -> None:
        """Every slot of a served function that has come within the last minutes has started its run, once."""
        await self.refresh(tx)
        now = await rows.cron_now_everywhere(tx)
        for function, slots in (one for several in self._crons.values() for one in several):
            slot = cron.at_or_before(slots.fields, now)
            if now - slot > _MISSED:
                continue
            digest = digest_of(f"{slots.text} {slot.isoformat()}")
            if await key_rows.claim_keys_everywhere(tx, f"cron:{function.id}", [digest], [ids.new_id()]):
                event = made_up(_CRON_EVENT, {"cron": slots.text}, slot)
                await start(tx, [Start(function=function, events=[event])])

    def _served(self, url: str, config: Mapping[str, Any]) -> Function:
        assert self._key is not None
        return function_of(config, Caller(self._outbound, self._key, url, config["id"]))


async def register(tx: Tx, registry: Registry, body: Mapping[str, Any]) -> bool:
    """The application serves these functions from now on, and none that it served before; whether that is new.

    AppRefused names the function that cannot be served. Announced as `function_app.registered`.
    """
    app_id, url, sdk = (body.get(name) for name in ("appname", "url", "sdk"))
    configs = body.get("functions")
    if not isinstance(app_id, str) or not 0 < len(app_id) <= 80 or not app_id.isprintable():
        raise AppRefused(faults=[Fault("a text of 1 to 80 characters is needed", "#/appname")])
    if not isinstance(url, str) or not url.startswith(("http://", "https://")) or len(url) > 2_000 or "?" in url:
        raise AppRefused(faults=[Fault("an address that begins with http:// or https:// is needed", "#/url")])
    if not isinstance(configs, list) or not 0 < len(configs) <= MAX_FUNCTIONS:
        raise AppRefused(faults=[Fault(f"1 to {MAX_FUNCTIONS} functions are needed", "#/functions")])
    await rows.lock_apps_everywhere(tx)
    others = [orjson.loads(row["functions"]) for row in await rows.newer_apps_everywhere(tx, 0) if row["id"] != app_id]
    taken = {config["id"] for configs_there in others for config in configs_there}
    for index, config in enumerate(configs):
        try:
            function = function_of(config, None)
            _refuse_taken(registry, app_id, function, taken)
            taken.add(function.id)
        except _NOT_SERVED as error:
            raise AppRefused(faults=[Fault(f"{type(error).__name__}: {error}", f"#/functions/{index}")]) from error
    is_new = await rows.register_app_everywhere(tx, app_id, url, str(sdk or "")[:100], orjson.dumps(configs).decode())
    if is_new:
        actor = outbox.Actor(kind="application", id=app_id)
        data = {"appId": app_id, "url": url, "functions": len(configs)}
        await outbox.announce(tx, "function_app.registered", company_id=None, actor=actor, data=data)
    return is_new


def _refuse_taken(registry: Registry, app_id: str, function: Function, taken: Collection[str]) -> None:
    if not function.id.startswith(f"{app_id}-") or registry.is_own(function.id) or function.id in taken:
        raise FunctionError(f"the id {function.id!r} must begin with that of its application, and be nobody else's")


def function_of(config: Mapping[str, Any], caller: Caller | None) -> Function:
    """The function that an application describes; FunctionError and its kin where it cannot be had here."""
    given = {name: value for name, value in config.items() if value is not None}
    others = [name for name in _NOT_HERE if given.get(name)]
    if others:
        raise FunctionError(f"{given['id']}: not known here: {', '.join(others)}")
    steps = given.get("steps") or {}
    retries = max(
        (one["retries"]["attempts"] for one in steps.values() if one.get("retries")), default=_DEFAULT_RETRIES
    )
    return Function(
        id=given["id"],
        run=_nobody if caller is None else caller.run,
        triggers=[_trigger_of(one) for one in given.get("triggers") or ()],
        idempotency=given.get("idempotency"),
        concurrency=[
            Concurrency(one["limit"], one.get("key"), one.get("scope") or "fn")
            for one in given.get("concurrency") or ()
        ],
        throttle=_throttle_of(given.get("throttle")),
        rate_limit=_of(RateLimit, given.get("rateLimit"), "limit", "period", "key"),
        debounce=_of(Debounce, given.get("debounce"), "period", "key", "timeout"),
        batch=_batch_of(given.get("batchEvents")),
        cancel_on=[CancelOn(one["event"], one.get("if")) for one in given.get("cancel") or ()],
        attempts=min(int(retries), _MOST_RETRIES) + 1,
        timeout=timedelta(seconds=CALL_SECONDS),
    )


async def _nobody(*_: Any) -> None:
    raise AssertionError("a description is not run")


def _trigger_of(given: Mapping[str, Any]) -> Event | Cron:
    if given.get("cron"):
        return Cron(given["cron"])
    return Event(given["event"], given.get("expression"))


def _of(word: Any, given: Mapping[str, Any] | None, *names: str) -> Any:
    if not given:
        return None
    values = {name: given[name] for name in names if given.get(name) is not None}
    return word(**{name: _value_of(name, value) for name, value in values.items()})


def _value_of(name: str, value: Any) -> Any:
    return protocol.duration_of(value) if name in ("period", "timeout") else value


def _throttle_of(given: Mapping[str, Any] | None) -> Throttle | None:
    found: Throttle | None = _of(Throttle, given, "limit", "period", "burst", "key")
    return found


def _batch_of(given: Mapping[str, Any] | None) -> BatchEvents | None:
    if not given:
        return None
    return BatchEvents(given["maxSize"], protocol.duration_of(given.get("timeout") or "60s"), given.get("key"))
