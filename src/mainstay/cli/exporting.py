"""Exporting events into a file that is there only when it is whole, with a bar that shows how far it is."""

import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Annotated, Any, Final

import aiohttp
import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from mainstay.cli import output
from mainstay.cli.calling import DEFAULT_URL, Key, Refused, Service, Url
from mainstay.cli.output import USAGE, CommandFailed

FORMS: Final = ("json", "ndjson", "csv")
_TAIL_BYTES: Final = 64 * 1024
_SECONDS_BETWEEN_LINES: Final = 5.0
_END_OF_CSV: Final = b'#end,"'


def export_events(
    to: Annotated[Path | None, typer.Argument(help="The file; standard output unless given.")] = None,
    *,
    form: Annotated[
        str | None, typer.Option("--as", help="json, ndjson or csv; as the file's name unless given.")
    ] = None,
    action: Annotated[str | None, typer.Option()] = None,
    category: Annotated[str | None, typer.Option()] = None,
    actor_id: Annotated[str | None, typer.Option()] = None,
    actor_email: Annotated[str | None, typer.Option()] = None,
    target_id: Annotated[str | None, typer.Option()] = None,
    project_id: Annotated[str | None, typer.Option()] = None,
    text: Annotated[str | None, typer.Option(help="Found anywhere in the event.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="Stored at or after: a date or an ISO time.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Stored at or before.")] = None,
    proof: Annotated[bool, typer.Option("--proof", help="With what 'mainstay verify' needs; NDJSON.")] = False,
    company: Annotated[bool, typer.Option("--company", help="All workspaces, with a company key.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Write all events that match into a file, oldest first.

    Ends with 1, and leaves no file, where the stream was cut; with 3 where the plan's cap cut the export.

    \b
      mainstay events export events.csv --from 2026-01-01 --category billing
      mainstay events export audit.ndjson --proof && mainstay verify audit.ndjson
      mainstay events export --as ndjson --company | jq .action
    """
    form = form or ("ndjson" if to is None else to.suffix.removeprefix("."))
    if form not in FORMS:
        output.fail(CommandFailed("name the form with --as json, ndjson or csv", code=USAGE))
    if proof and form != "ndjson":
        output.fail(CommandFailed("--proof goes with --as ndjson", code=USAGE))
    if to is not None and to.exists() and not force:
        output.fail(CommandFailed(f"{to} is there already", "Name another file, or say --force.", code=USAGE))
    named = {
        "action": action, "category": category, "actorId": actor_id, "actorEmail": actor_email, "targetId": target_id,
        "projectId": project_id, "text": text, "from": since, "to": until,
        "include": "proof" if proof else None, "end": "true" if form == "csv" else None,
    }  # fmt: skip
    query = {name: value for name, value in named.items() if value is not None}
    path = f"/v1/key/{'company' if company else 'workspace'}/export.{form}"
    end = output.run(_export(Service(url, key), path, query, form, to))
    output.tell(f"{end['rows']} events" + ("" if to is None else f" in {to}"))
    if end["truncated"]:
        failure = f"the plan's cap of {end['cap']} rows an export cut it: later events are missing"
        output.fail(CommandFailed(failure, "Go on with --from the last event's createdAt.", code=CUT))


CUT: Final = 3
"""The exit code of an export that is whole as far as the plan goes, and no further."""


async def _export(service: Service, path: str, query: Mapping[str, str], form: str, to: Path | None) -> dict[str, Any]:
    async with service:
        with _target(to) as target:
            try:
                end = await _written(service.stream(path, query), target, form)
            except Refused as refusal:
                raise refusal.failure() from None
            except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
                raise _cut(f"the connection broke ({type(error).__name__})") from None
            except OSError as error:
                raise CommandFailed(f"cannot write the export: {error.strerror}", "Is the disk full?") from None
            if end is None:
                raise _cut("it has no end")
            return end


def _cut(why: str) -> CommandFailed:
    return CommandFailed(f"the export was cut off: {why}", "What came is not kept; run the command again.")


@contextmanager
def _target(to: Path | None) -> Iterator[IO[bytes]]:
    """Where the bytes go; a file gets its name when all of them are on the disk, and is gone otherwise."""
    if to is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = to.with_name(f".{to.name}.{os.getpid()}.part")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(to)
    except OSError as error:
        raise CommandFailed(f"cannot write {to}: {error.strerror}", code=USAGE) from None
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


async def _written(stream: AsyncIterator[bytes], target: IO[bytes], form: str) -> dict[str, Any] | None:
    """What the end of the export tells, once all of it is written; None where it has no end.

    The last bytes are held back until more come: so the record that ends a CSV stays out of the file.
    """
    held = b""
    with _Bar() as bar:
        async for chunk in stream:
            bar.add(len(chunk))
            held += chunk
            if len(held) > _TAIL_BYTES:
                target.write(held[:-_TAIL_BYTES])
                held = held[-_TAIL_BYTES:]
    end, kept = end_of(form, held)
    if end is not None:
        target.write(kept)
    return end


def end_of(form: str, last: bytes) -> tuple[dict[str, Any] | None, bytes]:
    """What the last bytes of an export say of its end, or None; and those of them that belong into the file."""
    if form == "csv":
        start = last.rfind(_END_OF_CSV)
        record, kept = (last[start:], last[:start]) if start >= 0 else (b"", last)
        written, closed, _ = record.removeprefix(_END_OF_CSV).replace(b'""', b"\0").partition(b'"')
        end = _ended(written.replace(b"\0", b'"') if closed and record.endswith(b"\r\n") else b"")
        return (None, last) if end is None else (end, kept)
    if form == "json":
        _, found, written = last.rpartition(b'],"meta":')
        return _ended(written.strip()[:-1] if found and last.endswith(b"}}\n") else b""), last
    line = last.rstrip(b"\n").rpartition(b"\n")[2]
    is_end = line.startswith(b'{"end":') and last.endswith(b"}\n")
    return _ended(line[len(b'{"end":') : -1] if is_end else b""), last


def _ended(written: bytes) -> dict[str, Any] | None:
    try:
        end = orjson.loads(written)
    except orjson.JSONDecodeError:
        return None
    return end if isinstance(end, dict) and end.keys() >= {"rows", "cap", "truncated"} else None


class _Bar:
    """Bytes as they come: a bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self) -> None:
        self._bytes = 0
        self._told_at = time.monotonic()
        self._bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (
                TextColumn("exporting"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                TimeElapsedColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True))
            self._task = self._bar.add_task("exporting", total=None)

    def __enter__(self) -> "_Bar":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, size: int) -> None:
        """So many more bytes came."""
        self._bytes += size
        if self._bar is not None:
            self._bar.update(self._task, completed=self._bytes)
        elif time.monotonic() - self._told_at >= _SECONDS_BETWEEN_LINES:
            self._told_at = time.monotonic()
            output.tell(f"{self._bytes / 1e6:.0f} MB")
