"""Functions that an application serves: its SDK is called over HTTP, and what it answers is done as steps."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from mainstay.functions import protocol
from mainstay.functions.declaring import Received
from mainstay.functions.errors import AppError, StepError
from mainstay.functions.pending import Known
from mainstay.functions.registry import FAILED, FINISHED
from mainstay.functions.stepping import Steps
from mainstay.kernel.outbound import Answer, Outbound

MOST_ANSWER_BYTES = 8_000_000
CALL_SECONDS = 900.0
_ANY_STEP = "step"
_SHOWN_NAME = 150
_NAMES = {name: f"inngest/{name}" for name in (FAILED, FINISHED)}


class Output(NamedTuple):
    """The function has ended with this."""

    value: Any


class Caller:
    """Calls one function of an application; its `run` is the function's handler."""

    def __init__(self, outbound: Outbound, signing_key: str, url: str, function_id: str) -> None:
        self._outbound = outbound
        self._key = signing_key
        self._url = url
        self._function_id = function_id

    async def run(self, step: Steps, event: Received) -> Any:
        """The function's output. The application is asked what is next until it has ended or everything waits."""
        under_way: dict[str, asyncio.Task[None]] = {}
        while True:
            with step.under_way():
                answer = await self._call(step, event, _ANY_STEP, is_parallel=bool(under_way))
            if isinstance(answer, Output):
                return answer.value
            for operation in answer:
                if operation["id"] not in under_way:
                    under_way[operation["id"]] = asyncio.create_task(self._do(step, event, operation))
            if not under_way:
                raise AppError("ProtocolError", "the application answered with no operation")
            await asyncio.wait(under_way.values(), return_when=asyncio.FIRST_COMPLETED)
            for identifier in [key for key, task in under_way.items() if task.done()]:
                under_way.pop(identifier).result()

    async def _do(self, step: Steps, event: Received, operation: Mapping[str, Any]) -> None:
        """The operation has been done as a step; that it failed for good the application hears with the next call."""
        key, kind, options = _key_of(operation), operation.get("op"), operation.get("opts") or {}

        async def planned() -> Any:
            answer = await self._call(step, event, operation["id"])
            if isinstance(answer, Output) or not answer:
                raise AppError("ProtocolError", "a step was asked for and something else was answered")
            return _result_of(answer[0])

        try:
            if kind in ("StepRun", "StepError", "StepFailed"):
                await step.run(key, _result_of, operation)
            elif kind == "StepPlanned":
                await step.run(key, planned)
            elif kind == "Sleep":
                moment = _moment_of(str(operation.get("name") or options.get("duration")))
                await step.sleep_until(key, moment)
            elif kind == "WaitForEvent":
                name, timeout = str(operation.get("name") or options.get("event")), str(options.get("timeout"))
                await step.wait_for_event(
                    key, name, timeout=_moment_of(timeout) - datetime.now(UTC), if_=options.get("if")
                )
            elif kind == "InvokeFunction":
                data = (options.get("payload") or {}).get("data") or {}
                longest = protocol.duration_of(options.get("timeout") or "365d")
                await step.invoke(key, str(options.get("function_id")), data, timeout=longest)
            else:
                raise AppError("ProtocolError", f"the operation {kind!r} is not known here", is_final=True)
        except StepError:
            return
        except ValueError as error:
            raise AppError("ProtocolError", f"{operation.get('displayName')}: {error}", is_final=True) from error

    async def _call(
        self, step: Steps, event: Received, step_id: str, *, is_parallel: bool = False
    ) -> Output | list[dict[str, Any]]:
        remembered = step.remembered()
        stack = [key.rpartition(" ")[2] for key in remembered]
        body = orjson.dumps(
            {
                "version": 1,
                "ctx": {
                    "attempt": step.attempt,
                    "disable_immediate_execution": is_parallel,
                    "fn_id": self._function_id,
                    "run_id": step.run_id,
                    "stack": {"stack": stack, "current": len(stack)},
                    "use_api": False,
                },
                "event": _shown(event),
                "events": [_shown(one) for one in step.events],
                "steps": {key.rpartition(" ")[2]: _memo_of(one) for key, one in remembered.items()},
                "use_api": False,
            }
        )
        headers = {
            "content-type": "application/json",
            "x-inngest-server-kind": "cloud",
            protocol.SIGNATURE: protocol.sign(self._key, body),
        }
        url = f"{self._url}?fnId={self._function_id}&stepId={step_id}"
        answer = await self._outbound.post(url, body, headers, timeout_seconds=CALL_SECONDS)
        return self._read(answer)

    def _read(self, answer: Answer) -> Output | list[dict[str, Any]]:
        if answer.status is None or answer.error is not None:
            raise AppError("NoAnswer", f"{answer.error}: {answer.error_detail}")
        if answer.truncated:
            raise AppError("AnswerTooLarge", f"an answer has at most {MOST_ANSWER_BYTES} bytes", is_final=True)
        signature = answer.headers.get(protocol.SIGNATURE)
        if signature is not None and not protocol.is_signed(self._key, answer.body, signature, is_canonical=True):
            raise AppError("BadSignature", "the signature of the answer is not right")
        if "x-inngest-sdk" not in answer.headers:
            raise AppError("ProtocolError", f"status {answer.status}, and not from an Inngest SDK")
        try:
            body = orjson.loads(answer.body or b"null")
        except orjson.JSONDecodeError:
            body = {"message": answer.body[:500].decode("utf-8", "replace")}
        if answer.status == 200:
            return Output(body)
        if answer.status == 206 and isinstance(body, list):
            is_final = answer.headers.get("x-inngest-no-retry") == "true"
            return [
                {**one, "is_final": is_final}
                for one in body
                if isinstance(one, dict) and isinstance(one.get("id"), str)
            ]
        raise _error_of(body, answer.headers, f"status {answer.status}")


def _shown(event: Received) -> dict[str, Any]:
    shown = {name: value for name, value in event.shown.items() if value is not None}
    return {**shown, "name": _NAMES.get(event.name, event.name)}


def _key_of(operation: Mapping[str, Any]) -> str:
    """The step as it is kept: its name for people, and the hash by which the application knows it."""
    name = str(operation.get("displayName") or operation.get("name") or "").replace("\0", "")[:_SHOWN_NAME]
    return f"{name} {operation['id']}"[-200:]


def _memo_of(known: Known) -> Any:
    if known.state == "failed":
        return {"error": orjson.loads(known.error or "{}")}
    value = None if known.output is None else orjson.loads(known.output)
    return value if known.kind in ("sleep", "wait") else {"data": value}


def _result_of(operation: Mapping[str, Any]) -> Any:
    error = operation.get("error")
    if error is not None:
        headers = (
            {"x-inngest-no-retry": "true"} if operation.get("is_final") or operation.get("op") == "StepFailed" else {}
        )
        raise _error_of(error, headers, "the step failed")
    return operation.get("data")


def _error_of(body: Any, headers: Mapping[str, str], otherwise: str) -> AppError:
    given = body if isinstance(body, dict) else {}
    return AppError(
        str(given.get("name") or "Error"),
        str(given.get("message") or otherwise),
        stack=given.get("stack") if isinstance(given.get("stack"), str) else None,
        is_final=headers.get("x-inngest-no-retry") == "true",
        after=_after(headers.get("retry-after")),
    )


def _after(text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        return (
            timedelta(seconds=int(text)) if text.isdigit() and len(text) < 10 else _moment_of(text) - datetime.now(UTC)
        )
    except ValueError:
        return None


def _moment_of(text: str) -> datetime:
    """The moment that a time or a duration from now says; ValueError."""
    try:
        return datetime.now(UTC) + protocol.duration_of(text)
    except OverflowError as error:
        raise ValueError(f"{text!r} is later than any time") from error
    except ValueError:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
