"""Importing a log file: read, map, send in batches, and account for every line.

A record gets an idempotency key of its own, so that sending it again within 24 hours stores nothing twice. Beyond that
the position file lets a broken import go on behind the last answered batch. One batch can be stored twice only if the
importer dies between its answer and the note of it, and is started again after more than 24 hours.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Annotated, Any, Self

import msgspec
import typer

from mainstay.cli import output
from mainstay.cli.calling import DEFAULT_URL, Key, Refused, Service, Url
from mainstay.cli.import_position import MAX_LINE_BYTES, Lines, Position, PositionFile, open_lines, position_file
from mainstay.cli.import_progress import Progress
from mainstay.cli.mappings import MAPPINGS, Mapped, Mapper, Unmappable
from mainstay.cli.output import FAILED, USAGE, CommandFailed

BATCH_PATH = "/v1/key/workspace/events/batch"
MAX_BATCH = 1_000
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""A batch is sent when it holds so many bytes, whatever its number of events; the service takes 16 MiB."""
GIVE_UP_SECONDS = 300.0
"""How long the service may be away before the import stops; the same command then goes on."""
_STOPPING = frozenset({401, 403, 404})


def import_events(
    file: Annotated[str, typer.Argument(help="The file, plain or gzip; - for standard input.")],
    *,
    kind: Annotated[str, typer.Option("--as", help="cloudtrail, github or ndjson.")],
    batch: Annotated[int, typer.Option(min=1, max=MAX_BATCH, help="Events a request.")] = 500,
    resume: Annotated[bool, typer.Option(help="Go on where an earlier run of the same import stopped.")] = True,
    rejects: Annotated[Path | None, typer.Option(help="Also write every refused line here, as NDJSON.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Store the records of a log file as events.

    Ends with 1 if any line was refused. Run it again after a break: it goes on where it stopped.

    \b
    Categories of CloudTrail records: console-login-failed, denied, error, auth, read, write.
      mainstay events import cloudtrail.ndjson.gz --as cloudtrail
      mainstay events import webhooks.ndjson --as github --rejects refused.ndjson
      zcat export.ndjson.gz | mainstay events import - --as ndjson --json
    """
    if kind not in MAPPINGS:
        output.fail(CommandFailed(f"--as must be one of {', '.join(MAPPINGS)}", code=USAGE))

    async def work() -> Position:
        service = Service(url, key, on_wait=_tell_wait, give_up_seconds=GIVE_UP_SECONDS)
        return await _import(service, file, kind, size=batch, resume=resume, rejects=rejects)

    position = output.run(work())
    summary = {name: getattr(position, name) for name in ("read", "stored", "replayed", "refused")}
    if as_json:
        output.show_json(summary)
    else:
        print("  ".join(f"{name} {number}" for name, number in summary.items()))
    if position.refused:
        raise typer.Exit(FAILED)


async def _import(service: Service, file: str, kind: str, *, size: int, resume: bool, rejects: Path | None) -> Position:
    try:
        lines = open_lines(file, sys.stdin.buffer)
    except OSError as error:
        raise CommandFailed(f"cannot read {file}: {error.strerror}", "Check the path.", code=USAGE) from None
    try:
        async with service:
            kept = None if file == "-" else position_file(file, kind, await _workspace_of(service))
            position = kept.load() if kept and resume else Position()
            lines.skip(position)
            if position.lines:
                output.tell(f"going on behind line {position.lines} of an earlier run")
            with Rejects(rejects, append=position.lines > 0) as refused, Progress(file, lines) as progress:
                await _Import(service, kept, refused, progress, position).run(lines, MAPPINGS[kind], size)
            return position
    finally:
        lines.close()


async def _workspace_of(service: Service) -> str:
    try:
        return str((await service.get("/v1/key/workspace"))["id"])
    except Refused as refusal:
        raise refusal.failure() from None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that was not stored, or a record of it: where, and why."""

    line: int
    pointer: str
    reason: str


@dataclass(slots=True)
class _Batch:
    """Events on their way with the line that each came from, up to the line after which the batch was cut."""

    events: list[tuple[int, Mapped]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    bytes: int = 0
    lines: int = 0
    sha256: str = ""

    def is_full(self, size: int) -> bool:
        return len(self.events) + len(self.refusals) >= size or self.bytes >= MAX_BATCH_BYTES

    def add(self, line: int, found: Mapped | Unmappable) -> None:
        if isinstance(found, Unmappable):
            self.refusals.append(Refusal(line, found.pointer, found.detail))
        else:
            self.events.append((line, found))
            self.bytes += len(found.body)

    def cut(self, mark: tuple[int, str]) -> "_Batch":
        self.lines, self.sha256 = mark
        return self


class _Import:
    def __init__(
        self, service: Service, kept: PositionFile | None, rejects: "Rejects", progress: Progress, position: Position
    ) -> None:
        self._service = service
        self._kept = kept
        self._rejects = rejects
        self._progress = progress
        self._position = position

    async def run(self, lines: Lines, mapper: Mapper, size: int) -> None:
        """Every line is sent or refused, and the position says so batch by batch."""
        for batch in batches(lines, mapper, size):
            answered: list[Refusal | bool] = []
            if batch.events:
                answered = await self._send(batch.events)
            refusals = [*batch.refusals, *(one for one in answered if isinstance(one, Refusal))]
            for refusal in sorted(refusals, key=lambda one: one.line):
                self._progress.tell(f"line {refusal.line} refused at {refusal.pointer}: {refusal.reason}")
                self._rejects.write(refusal)
            now = self._position
            now.read += len(batch.events) + len(batch.refusals)
            now.refused += len(refusals)
            now.replayed += sum(one is True for one in answered)
            now.stored += sum(one is False for one in answered)
            now.lines, now.sha256 = batch.lines, batch.sha256
            if self._kept is not None:
                self._kept.save(now)
            self._progress.show(now)

    async def _send(self, events: list[tuple[int, Mapped]]) -> list[Refusal | bool]:
        """For each event whether it had been stored before, or its refusal; a batch refused whole is cut in two."""
        body = b'{"events":[' + b",".join(event.body for _, event in events) + b"]}"
        try:
            answer = await self._service.post(BATCH_PATH, body)
        except Refused as refusal:
            if refusal.status in _STOPPING:
                raise refusal.failure() from None
            if len(events) == 1:
                return [_refusal(events[0][0], refusal.detail, refusal.errors, 0)]
            half = len(events) // 2
            return [*await self._send(events[:half]), *await self._send(events[half:])]
        items = answer["data"]
        if len(items) != len(events):
            raise CommandFailed("the service answered for another number of events than were sent")
        return [_outcome(line, item) for (line, _), item in zip(events, items, strict=True)]


def batches(lines: Lines, mapper: Mapper, size: int) -> Iterator[_Batch]:
    """The lines as batches of about `size` events, cut at the ends of lines; inside one only where it is that long."""
    batch, mark = _Batch(), (lines.number, lines.digest.hexdigest())
    try:
        for number, line in lines:
            for found in _mapped(line, mapper):
                if batch.is_full(size):
                    yield batch.cut(mark)
                    batch = _Batch()
                batch.add(number, found)
            mark = number, lines.digest.hexdigest()
    except CommandFailed:
        yield batch.cut(mark)
        raise
    yield batch.cut(mark)


def _mapped(line: bytes | None, mapper: Mapper) -> Iterable[Mapped | Unmappable]:
    if line is None:
        return [Unmappable(f"longer than {MAX_LINE_BYTES} bytes")]
    if not line.strip():
        return []
    try:
        return list(mapper(line))
    except Unmappable as refusal:
        return [refusal]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        return [Unmappable(f"not valid JSON: {error}")]


def _outcome(line: int, item: dict[str, Any]) -> Refusal | bool:
    if item["status"] == 201:
        return bool(item["replayed"])
    error = item["error"]
    return _refusal(line, error["detail"], error.get("errors", ()), item["index"])


def _refusal(line: int, detail: str, errors: Iterable[Any], index: int) -> Refusal:
    """The first thing wrong, with a pointer into the event instead of the batch."""
    first: dict[str, Any] = next(iter(errors), {})
    pointer = str(first.get("pointer", "#")).removeprefix(f"#/events/{index}")
    return Refusal(line, pointer if pointer.startswith("#") else f"#{pointer}", str(first.get("detail", detail)))


class Rejects:
    """The refused lines as NDJSON, where somebody asked for them."""

    def __init__(self, path: Path | None, *, append: bool) -> None:
        self._path = path
        self._mode = "a" if append else "w"
        self._target: IO[str] | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                self._target = self._path.open(self._mode, encoding="utf-8")
            except OSError as error:
                raise CommandFailed(f"cannot write {self._path}: {error.strerror}", code=USAGE) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._target is not None:
            self._target.close()

    def write(self, refusal: Refusal) -> None:
        """The refusal is in the file."""
        if self._target is not None:
            self._target.write(json.dumps(asdict(refusal), ensure_ascii=False) + "\n")
            self._target.flush()


def _tell_wait(what: str, seconds: float) -> None:
    output.tell(f"the service {what}; trying again in {seconds:.1f} s")
