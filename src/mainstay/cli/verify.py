"""Proving that events are whole and unchanged: an export offline, or a workspace in its database."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from mainstay import events, identity
from mainstay.cli import output
from mainstay.cli.operating import all_workspaces, company_named, operators_regions, workspace_named
from mainstay.cli.output import FAILED, USAGE, CommandFailed
from mainstay.events import BadCheckpoint, Verdict
from mainstay.kernel.db import Database
from mainstay.kernel.errors import NotFound, Unavailable

NO_CHECKPOINT = "no signed checkpoint was compared (--key): events missing at the end could not be seen"
_EMPTY = Verdict(True, 0, None, (0, bytes(32)))


@dataclass(frozen=True, slots=True)
class Judged:
    """What was judged, by name, and the verdict."""

    name: str
    verdict: Verdict


def verify(
    file: Annotated[Path | None, typer.Argument(help="An export, an archived day, or a directory of days.")] = None,
    *,
    checkpoint: Annotated[Path | None, typer.Option(help="A signed checkpoint, not the export's own.")] = None,
    key: Annotated[list[str] | None, typer.Option("--key", help="A public key name+hash+base64, or a file.")] = None,
    start: Annotated[str | None, typer.Option(help="SEQ:HASH, trusted, before the first event.")] = None,
    company: Annotated[str | None, typer.Option(help="Online on DATABASE_URL: slug or id of the company.")] = None,
    workspace: Annotated[str | None, typer.Option(help="Online: slug or id of the workspace.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Online: every workspace of the company.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a verdict a line as JSON.")] = False,
) -> None:
    """Prove an export, archived days, or a workspace in the database.

    Ends with 1 if anything is wrong.

    \b
    Public keys are in the answer of GET /v1/key/workspace/checkpoint; keep them apart from exports.
    Found and named by its first bad row: an edit, deletion, reordering, duplicate, fork, or missing end.
      mainstay verify export.ndjson.gz --key mainstay+1a2b3c4d+AbC...
      mainstay verify export.ndjson --checkpoint note.txt --key keys.txt --json
      mainstay verify archive/ --key keys.txt     (days in one directory follow one another)
      mainstay verify --company acme --all
    """
    if (file is None) == (company is None):
        output.fail(CommandFailed("give a file, or --company for the database", code=USAGE))
    try:
        if file is not None and file.is_dir():
            judged = _verify_directory(file, key or [])
        elif file is not None:
            judged = [Judged(str(file), _verify_file(file, checkpoint, key or [], start))]
        else:
            judged = output.run(_verify_database(company or "", workspace, every=every))
    except CommandFailed as failure:
        output.fail(failure)
    for one in judged:
        if as_json:
            output.show_json({"name": one.name, **shown(one.verdict)})
        else:
            print("\n".join(sentences(one)))
    if not all(one.verdict.ok for one in judged):
        raise typer.Exit(FAILED)


def sentences(judged: Judged) -> list[str]:
    """The verdict in words."""
    verdict = judged.verdict
    seq, event_hash = verdict.head
    bad = verdict.first_bad
    if bad is not None:
        where = "" if bad.seq is None else f", seq {bad.seq}"
        named = "" if bad.id is None else f", id {bad.id}"
        lines = [
            f"{judged.name}: NOT OK, {bad.kind}",
            f"  first bad row: line {bad.line}{where}{named}",
            f"  {bad.detail}",
            f"  proven before it: {verdict.checked} events",
        ]
    else:
        lines = [f"{judged.name}: ok, {verdict.checked} events, head seq {seq} {event_hash.hex()}"]
    if bad is not None and (bad.kind, bad.seq) == ("deleted", 1):
        lines.append("  note: an archived day begins at a checkpoint of its own, which needs the public key (--key)")
    if verdict.erased:
        lines.append(f"  of {verdict.erased} events parts were erased; what stands for them is proven")
    if verdict.checkpoint_seq is None:
        return [*lines, f"  note: {NO_CHECKPOINT}"]
    return [*lines, f"  compared with the signed checkpoint of seq {verdict.checkpoint_seq}"]


def shown(verdict: Verdict) -> dict[str, Any]:
    """The verdict for a script."""
    bad = verdict.first_bad
    return {
        "ok": verdict.ok,
        "checked": verdict.checked,
        "head": {"seq": verdict.head[0], "hash": verdict.head[1].hex()},
        "checkpointSeq": verdict.checkpoint_seq,
        "erased": verdict.erased,
        "firstBad": bad and {"seq": bad.seq, "id": bad.id, "line": bad.line, "kind": bad.kind, "detail": bad.detail},
    }


def _verify_file(
    file: Path, checkpoint: Path | None, keys: list[str], start: str | tuple[int, bytes] | None
) -> Verdict:
    try:
        known = dict(events.read_public_key(text) for given in keys for text in _keys_in(given))
        if checkpoint is not None and not known:
            raise CommandFailed("a checkpoint needs the public key that signed it", "Give it with --key.", code=USAGE)
        begin = _start_of(start) if isinstance(start, str) else start
        return events.verify_file(file, checkpoint, known, start=begin)
    except BadCheckpoint as error:
        raise CommandFailed(f"the checkpoint cannot be relied on: {error}") from None
    except OSError as error:
        raise CommandFailed(f"cannot read {error.filename}: {error.strerror}", code=USAGE) from None
    except ValueError as error:
        raise CommandFailed(str(error), code=USAGE) from None


def _verify_directory(directory: Path, keys: list[str]) -> list[Judged]:
    """Every archived day below the directory; of those beside each other, each must follow the one before."""
    files = sorted(path for path in directory.rglob("*") if path.name.endswith((".json.gz", ".json")))
    if not files:
        raise CommandFailed(f"there is no archived day in {directory}", code=USAGE)
    judged: list[Judged] = []
    for file, before in zip(files, [None, *files], strict=False):
        follows = before is not None and before.parent == file.parent and judged[-1].verdict.ok
        judged.append(Judged(str(file), _verify_file(file, None, keys, judged[-1].verdict.head if follows else None)))
    return judged


def _keys_in(given: str) -> list[str]:
    if "+" in given and not os.path.exists(given):
        return [given]
    return [line.strip() for line in Path(given).read_text(encoding="utf-8").splitlines() if line.strip()]


def _start_of(text: str) -> tuple[int, bytes]:
    seq, _, digest = text.partition(":")
    if not (seq.isascii() and seq.isdigit() and len(digest) == 64):
        raise CommandFailed("--start reads SEQ:HASH, with the hash as 64 hex digits", code=USAGE)
    return int(seq), bytes.fromhex(digest)


async def _verify_database(company: str, workspace: str | None, *, every: bool) -> list[Judged]:
    if every == (workspace is not None):
        raise CommandFailed("name a --workspace, or say --all", code=USAGE)
    async with operators_regions() as regions:
        home = regions.home
        owner = await company_named(home, company)
        wanted = [await workspace_named(home, owner, workspace)] if workspace else await all_workspaces(home, owner)
        own = regions.of(owner.data_region)
        judged = await _judge(own, owner, wanted)
        judged = [
            one or Judged(f"{owner.slug}/{place.slug}", _EMPTY) for one, place in zip(judged, wanted, strict=True)
        ]
        for region, db in regions.all():
            if db is not own:
                judged += await _judge_elsewhere(region, db, owner, wanted)
        return [one for one in judged if one is not None]


async def _judge(
    db: Database, owner: identity.Company, wanted: list[identity.Workspace], note: str = ""
) -> list[Judged | None]:
    """The verdict on each workspace's chain in that database; None where it has none."""
    keys = await events.public_keys(db)
    verdicts = [(one, await _verdict_of(db, one, keys)) for one in wanted]
    return [None if found is None else Judged(f"{owner.slug}/{one.slug}{note}", found) for one, found in verdicts]


async def _judge_elsewhere(
    region: str, db: Database, owner: identity.Company, wanted: list[identity.Workspace]
) -> list[Judged | None]:
    """The same of what the company stored in another region before it moved."""
    try:
        found = await _judge(db, owner, wanted, f" ({region})")
    except Unavailable:
        output.tell(f"{region} does not answer: what {owner.slug} may have there was not looked at")
        return []
    return [one for one in found if one is not None and (one.verdict.checked or not one.verdict.ok)]


async def _verdict_of(db: Database, workspace: identity.Workspace, keys: Any) -> Verdict | None:
    try:
        return await events.verify_workspace(db, workspace.company_id, workspace.id, public_keys=keys)
    except NotFound:
        return None
    except BadCheckpoint as error:
        raise CommandFailed(f"a stored checkpoint of {workspace.slug} cannot be relied on: {error}") from None
