"""Where events go: to the runs that wait for them, to those that they cancel, and to the functions that they start.

Everything is done in the transaction that ends the events' job, so once, however often the job was begun.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson

from mainstay.functions import expressions
from mainstay.functions.declaring import Event, Function, Received, condition_of, is_met, key_of, meets
from mainstay.functions.ending import cancel_runs
from mainstay.functions.gathering import gather, of_company
from mainstay.functions.queries import limits as limit_rows
from mainstay.functions.queries import runs as run_rows
from mainstay.functions.queries import sending as key_rows
from mainstay.functions.queries import steps as step_rows
from mainstay.functions.registry import Registry, plain_name
from mainstay.functions.starting import Start, received, start
from mainstay.kernel.crypto import digest_of
from mainstay.kernel.db import Connection, Tx
from mainstay.kernel.logs import logger
from mainstay.kernel.work import Job, Outcome

_log = logger(__name__)
_OPEN_RUNS = 1_000
_LONGEST_VALUE_BYTES = 200
_NO_ID = "00000000-0000-0000-0000-000000000000"


Refresh = Callable[[Connection], Awaitable[None]]
"""Brings the registry up to date with the functions that applications serve."""


class Router:
    """Routes the events of claimed jobs together."""

    def __init__(self, registry: Registry, refresh: Refresh | None = None) -> None:
        self._registry = registry
        self._refresh = refresh

    async def load(self, jobs: Sequence[Job]) -> Mapping[int, Any]:
        """What each job carries."""
        return {job.id: job.payload for job in jobs}

    async def act(self, _: Job, payload: Any) -> tuple[Outcome, Any]:
        """All is done when the job is acknowledged."""
        return None, payload

    async def record(self, tx: Tx, results: Sequence[tuple[Job, Any, Outcome]]) -> None:
        """The events of these jobs have done what they do."""
        if self._refresh is not None:
            await self._refresh(tx)
        sent = [
            (payload["n"], event)
            for payload in sorted((result for _, result, _ in results), key=_number)
            for event in payload["events"]
        ]
        await self.route(tx, sent)

    async def route(self, tx: Tx, sent: Sequence[tuple[int, dict[str, Any]]]) -> None:
        """Each event, with its number, has woken, cancelled and started what it does, in this order."""
        await self._wake(tx, sent)
        run: list[tuple[int, dict[str, Any]]] = []
        for one in sent:
            if self._registry.cancelled_by(one[1]["name"]):
                await self._start(tx, run)
                run = []
                await self._cancel(tx, received(one[1]))
            run.append(one)
        await self._start(tx, run)

    async def _wake(self, tx: Tx, sent: Sequence[tuple[int, dict[str, Any]]]) -> None:
        names = sorted({plain_name(event["name"]) for _, event in sent})
        paths = await step_rows.wait_paths_everywhere(tx, names)
        if not paths:
            return
        wanted: dict[tuple[str, str, str], list[tuple[int, dict[str, Any]]]] = {}
        for path in paths:
            for number, event in sent:
                value = value_at(path["match_path"], event)
                if plain_name(event["name"]) == path["event_name"] and value is not None:
                    wanted.setdefault((path["event_name"], path["match_path"], value), []).append((number, event))
        if not wanted:
            return
        matched: dict[tuple[str, str], str] = {}
        for wait in await step_rows.find_waits_everywhere(
            tx, *([list(column) for column in zip(*wanted, strict=True)])
        ):
            for number, event in wanted[wait["event_name"], wait["match_path"], wait["match_value"]]:
                if number > wait["since"] and meets(wait["condition"], orjson.loads(wait["input"])[0], event):
                    shown = orjson.dumps(received(event).shown).decode()
                    matched.setdefault((str(wait["run_id"]), wait["step_id"]), shown)
                    break
        if matched:
            rows = [(run_id, step_id, event) for (run_id, step_id), event in sorted(matched.items())]
            await run_rows.hasten_runs_everywhere(tx, await step_rows.match_waits_everywhere(tx, rows))

    async def _cancel(self, tx: Tx, event: Received) -> None:
        for function, cancel in self._registry.cancelled_by(event.name):
            condition, after = condition_of(cancel.if_, cancel.match), _NO_ID
            while True:
                runs = await run_rows.open_runs_everywhere(tx, function.id, after, _OPEN_RUNS)
                meant = [str(run["id"]) for run in runs if meets(condition, orjson.loads(run["input"])[0], event.shown)]
                if meant:
                    await cancel_runs(tx, meant, f"the event {event.name} arrived")
                if len(runs) < _OPEN_RUNS:
                    break
                after = str(runs[-1]["id"])

    async def _start(self, tx: Tx, sent: Sequence[tuple[int, dict[str, Any]]]) -> None:
        plain: list[Start] = []
        steered: list[tuple[Start, str]] = []
        for _, body in sent:
            event = received(body)
            for one in self._starts_of(event, body["key"]):
                function = one.function
                if one.skipped is None and _is_steered(function):
                    steered.append((one, function.id))
                else:
                    plain.append(one)
        for one, _ in sorted(steered, key=lambda each: each[1]):
            steer = await self._steered(tx, one)
            if steer is not None:
                plain.append(steer)
        await start(tx, plain)

    def _starts_of(self, event: Received, event_id: str) -> list[Start]:
        """A start of each function that the event is meant for, however many of its triggers say so."""
        found: dict[str, Start] = {}
        for function, trigger in self._registry.started_by(event.name):
            one = _start_of(function, trigger, event, event_id)
            if one is not None and (function.id not in found or found[function.id].skipped is not None):
                found[function.id] = one
        return list(found.values())

    @staticmethod
    async def _steered(tx: Tx, one: Start) -> Start | None:
        """The run as idempotency key and rate limit leave it; None where its event waits for others."""
        function, event, rate = one.function, one.events[0], one.function.rate_limit
        if function.idempotency is not None:
            assert one.event_id is not None
            digest = digest_of(of_company(key_of(function.idempotency, event), event))
            if not await key_rows.claim_keys_everywhere(tx, f"run:{function.id}", [digest], [one.event_id]):
                return _skipped(one, "idempotency: a run of this key has started in the last 24 hours")
        if rate is not None:
            rate_key = f"rate:{function.id}:{key_of(rate.key, event)}"
            if not await limit_rows.rate_everywhere(tx, rate_key, rate.period, rate.limit):
                return _skipped(one, "rate limit: so many runs of this key have started in the period")
        if function.debounce is None and function.batch is None:
            return one
        await gather(tx, function, event)
        return None


def value_at(path: str, event: Mapping[str, Any]) -> str | None:
    """What stands at the path of an event, as waits keep it: a long one as its digest, None where nothing stands.

    No path is the same for all.
    """
    if not path:
        return ""
    value = expressions.at(event, expressions.path_of(path))
    if value is None:
        return None
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return text.decode() if len(text) <= _LONGEST_VALUE_BYTES else f"sha256:{digest_of(text.decode()).hex()}"


def _number(payload: dict[str, Any]) -> int:
    return int(payload["n"])


def _is_steered(function: Function) -> bool:
    return any((function.idempotency, function.rate_limit, function.debounce, function.batch))


def _start_of(function: Function, trigger: Event, event: Received, event_id: str) -> Start | None:
    """The run that the event asks for; skipped with its reason where the condition or a key cannot be told."""
    one = Start(function=function, events=[event], event_id=event_id)
    try:
        if not is_met(trigger.if_, event):
            return None
        for key in function.keys:
            key_of(key, event)
    except Exception as error:
        _log.warning("a condition or key of a function failed", function=function.id, exc_info=error)
        return _skipped(one, f"a condition or key failed: {type(error).__name__}: {error}")
    return one


def _skipped(one: Start, reason: str) -> Start:
    return Start(function=one.function, events=one.events, event_id=one.event_id, skipped=reason[:500])
