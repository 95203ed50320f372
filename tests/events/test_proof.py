import copy
import gzip
import json
import random
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.events.chain import GENESIS, PARTS
from mainstay.events.checkpoints import BadCheckpoint, Checkpoint, write_note
from mainstay.events.proof import Verdict, verify_events, verify_file

from .chains import COMPANY, OTHER_WORKSPACE, WORKSPACE, erased, export, exported, given_event

GOOD = export(12)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = {"k": KEY.public_key()}
UNPROTECTED = {"archived", "archivalCandidate"}


def rows() -> list[dict[str, Any]]:
    return copy.deepcopy(GOOD)


def signed(seq: int, chain: list[dict[str, Any]] = GOOD) -> Checkpoint:
    return Checkpoint(WORKSPACE, seq, bytes.fromhex(chain[seq - 1]["hash"]), "2026-02-03T05:00:00.000000Z")


def found(verdict: Verdict) -> tuple[str, int | None, int]:
    assert not verdict.ok
    assert verdict.first_bad is not None
    assert verdict.first_bad.detail
    return verdict.first_bad.kind, verdict.first_bad.seq, verdict.first_bad.line


def test_a_whole_export_verifies() -> None:
    verdict = verify_events(GOOD)
    assert verdict == Verdict(True, 12, None, (12, bytes.fromhex(GOOD[-1]["hash"])), None)
    assert verify_events(GOOD, checkpoint=signed(12)).checkpoint_seq == 12
    assert verify_events(GOOD, checkpoint=signed(5)).ok
    assert verify_events([]) == Verdict(True, 0, None, (0, GENESIS), None)


def test_a_part_of_a_chain_verifies_from_a_trusted_start() -> None:
    start = (5, bytes.fromhex(GOOD[4]["hash"]))
    assert verify_events(GOOD[5:], start=start, checkpoint=signed(12)).ok
    assert verify_events(GOOD[5:], start=start, checkpoint=signed(5)).ok
    assert found(verify_events(GOOD[5:], start=(5, bytes(32)))) == ("forked", 6, 1)
    assert found(verify_events(GOOD[5:])) == ("deleted", 1, 1)
    assert found(verify_events(GOOD[3:], start=start)) == ("reordered", 4, 1)
    with pytest.raises(ValueError, match="before the start"):
        verify_events(GOOD[5:], start=start, checkpoint=signed(4))
    wrong = Checkpoint(WORKSPACE, 5, bytes(32), "2026-02-03T05:00:00.000000Z")
    assert found(verify_events(GOOD[5:], start=start, checkpoint=wrong)) == ("forked", 5, 0)


def other(value: Any) -> Any:
    """A different value of the same type, or of the type that null stands for."""
    if value is None:
        return "x"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 + 1
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    if isinstance(value, list):
        return [*value, 1]
    return {**value, "added": 1}


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, 11), st.sampled_from(sorted(GOOD[0].keys() - {"proof"})), st.sampled_from(["change", "null", "swap"])
)
def test_every_field_but_the_two_marks_is_covered(index: int, field: str, how: str) -> None:
    changed = rows()
    before = changed[index][field]
    if how == "change" and before is None and field in {"metadata", "changes"}:
        changed[index][field] = {} if field == "metadata" else []
    else:
        changed[index][field] = {"change": other(before), "null": None, "swap": GOOD[(index + 1) % 12][field]}[how]
    verdict = verify_events(changed)
    if field in UNPROTECTED or changed[index][field] == before:
        assert verdict.ok
        return
    assert verdict.first_bad is not None
    assert verdict.first_bad.line == index + 1
    assert verdict.checked == index
    assert verdict.first_bad.kind == (
        "malformed" if changed[index][field] is None and field in never_null() else "edited"
    )


def never_null() -> set[str]:
    nullable = {
        "projectId",
        "actorId",
        "actorEmail",
        "actorName",
        "targetId",
        "targetType",
        "payload",
        "metadata",
        "changes",
    }
    return GOOD[0].keys() - nullable - UNPROTECTED


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 11), st.data())
def test_a_change_anywhere_inside_a_part_is_an_edit(index: int, data: st.DataObject) -> None:
    changed = rows()
    spots: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        for step, item in list(node.items() if isinstance(node, dict) else enumerate(node)):
            spots.append((node, step))
            if isinstance(item, dict | list):
                collect(item)

    for part in ("payload", "metadata", "changes"):
        collect(changed[index][part] or {})
    node, step = spots[data.draw(st.integers(0, len(spots) - 1))]
    if data.draw(st.booleans()):
        del node[step]
    else:
        node[step] = other(node[step])
    assert found(verify_events(changed)) == ("edited", index + 1, index + 1)


@pytest.mark.parametrize("part", PARTS)
def test_a_salt_is_covered_where_its_part_is_shown(part: str) -> None:
    changed = rows()
    salts = changed[3]["proof"]["salts"]
    salts[part] = other(salts[part])
    assert found(verify_events(changed)) == ("edited", 4, 4)
    del salts[part]
    assert found(verify_events(changed)) == ("edited", 4, 4)


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [
        ("seq", 40, "seq was changed"),
        ("prevHash", "ab" * 32, "prevHash was changed"),
        ("createdAt", "2026-02-03T04:06:05.000006Z", "createdAt differs from receivedAt"),
        ("receivedAt", "2026-02-03T04:06:05.000006Z", "receivedAt was changed"),
        ("workspaceId", OTHER_WORKSPACE, "workspaceId was changed"),
        ("action", "invoice.void", "the event's content or its hash was changed"),
        ("hash", "ab" * 32, "the event's content or its hash was changed"),
    ],
)
def test_an_edit_is_named_where_one_field_explains_it(field: str, value: Any, detail: str) -> None:
    changed = rows()
    changed[3][field] = value
    first_bad = verify_events(changed).first_bad
    assert first_bad is not None
    assert (first_bad.kind, first_bad.line, first_bad.detail) == ("edited", 4, detail)


@given(st.integers(0, 11), st.integers(1, 3))
def test_missing_rows_are_a_deletion(index: int, count: int) -> None:
    left = GOOD[:index] + GOOD[index + count :]
    if len(left) == index:
        assert verify_events(left).ok
        assert found(verify_events(left, checkpoint=signed(12))) == ("truncated", index + 1, index + 1)
    else:
        assert found(verify_events(left, checkpoint=signed(12))) == ("deleted", index + 1, index + 1)


@given(st.integers(0, 11), st.integers(0, 11))
def test_moved_rows_are_a_reordering(source: int, target: int) -> None:
    moved = rows()
    moved.insert(target, moved.pop(source))
    if moved == GOOD:
        return
    line = min(source, target) + 1
    assert found(verify_events(moved)) == ("reordered", moved[line - 1]["seq"], line)


@given(st.integers(0, 11), st.integers(0, 12))
def test_a_row_twice_is_a_duplicate(source: int, target: int) -> None:
    if target <= source:
        target = source + 1
    doubled = rows()
    doubled.insert(target, rows()[source])
    assert found(verify_events(doubled)) == ("duplicated", source + 1, target + 1)


def test_two_rows_with_one_parent_are_a_fork() -> None:
    parent = bytes.fromhex(GOOD[4]["hash"])
    same_seq = exported({**given_event(6), "action": "invoice.void"}, 6, parent)
    assert found(verify_events([*GOOD[:6], same_seq, *GOOD[6:]])) == ("forked", 6, 7)
    assert found(verify_events([*GOOD, same_seq])) == ("forked", 6, 13)
    next_seq = exported(given_event(7), 7, parent)
    assert found(verify_events([*GOOD[:6], next_seq])) == ("forked", 7, 7)


def test_a_history_written_anew_is_a_fork_at_the_checkpoint() -> None:
    anew = GOOD[:3]
    for seq in range(4, 13):
        anew = [*anew, exported({**given_event(seq), "action": "x"}, seq, bytes.fromhex(anew[-1]["hash"]))]
    assert verify_events(anew).ok
    assert found(verify_events(anew, checkpoint=signed(8))) == ("forked", 8, 8)
    assert found(verify_events(anew, checkpoint=signed(12))) == ("forked", 12, 12)
    continued = [*GOOD[:8], *anew[8:]]
    assert found(verify_events(continued, checkpoint=signed(8))) == ("forked", 9, 9)
    assert found(verify_events([exported(given_event(1), 1, bytes(31) + b"\1")])) == ("forked", 1, 1)


def test_a_row_rehashed_after_its_edit_is_still_the_one_to_blame() -> None:
    changed = rows()
    changed[4] = exported({**given_event(5), "action": "x"}, 5, bytes.fromhex(GOOD[3]["hash"]))
    assert found(verify_events(changed)) == ("edited", 5, 5)


def test_a_cut_tail_shows_against_a_checkpoint() -> None:
    assert found(verify_events(GOOD[:9], checkpoint=signed(12))) == ("truncated", 10, 10)
    assert found(verify_events([], checkpoint=signed(12))) == ("truncated", 1, 1)


def test_rows_of_another_workspace_are_foreign() -> None:
    theirs = export(12, workspace_id=OTHER_WORKSPACE)
    assert found(verify_events([*GOOD[:4], theirs[4], *GOOD[4:]])) == ("foreign", 5, 5)
    assert found(verify_events(theirs, checkpoint=signed(12))) == ("foreign", 1, 1)
    assert verify_events(theirs).ok


@pytest.mark.parametrize(
    "damage",
    [
        lambda row: "text",
        lambda row: None,
        lambda row: {},
        lambda row: {**row, "seq": "5"},
        lambda row: {**row, "seq": True},
        lambda row: {**row, "seq": 0},
        lambda row: {**row, "seq": 2**63},
        lambda row: {**row, "hash": row["hash"].upper()},
        lambda row: {**row, "prevHash": "00"},
        lambda row: {**row, "action": 1},
        lambda row: {**row, "action": "\ud800"},
        lambda row: {**row, "payload": "text"},
        lambda row: {**row, "changes": {}},
        lambda row: {**row, "actorId": 7},
        lambda row: {**row, "proof": None},
        lambda row: {**row, "proof": {}},
        lambda row: {**row, "proof": {**row["proof"], "v": 2}},
        lambda row: {**row, "proof": {**row["proof"], "v": True}},
        lambda row: {**row, "proof": {"v": 1, "salts": []}},
        lambda row: {**row, "proof": {"v": 1, "salts": {**row["proof"]["salts"], "actor": "zz"}}},
        lambda row: {**row, "proof": {**row["proof"], "digests": {"actor": 1}}},
        *(
            lambda row, field=field: {name: row[name] for name in row if name != field}
            for field in sorted(GOOD[0].keys() - UNPROTECTED)
        ),
    ],
)
def test_what_is_no_event_is_malformed(damage: Any) -> None:
    damaged = rows()
    damaged[4] = damage(damaged[4])
    kind, _, line = found(verify_events(damaged))
    assert (kind, line) == ("malformed", 5)


@given(st.sets(st.sampled_from(PARTS), min_size=1), st.sampled_from([0, 1, 3, 11]))
def test_an_erasure_keeps_the_proof(parts: set[str], index: int) -> None:
    after = rows()
    after[index] = erased(after[index], *parts)
    assert verify_events(after, checkpoint=signed(12)).ok
    part = sorted(parts)[0]
    digests = after[index]["proof"]["digests"]
    digests[part] = other(digests[part])
    assert found(verify_events(after)) == ("edited", index + 1, index + 1)
    del digests[part]
    assert found(verify_events(after)) == ("edited", index + 1, index + 1)


def test_a_value_put_in_place_of_an_erased_one_is_an_edit() -> None:
    after = rows()
    after[4] = {**erased(after[4], "actor"), "actorName": "Somebody Else"}
    assert found(verify_events(after)) == ("edited", 5, 5)
    added = rows()
    added[2]["proof"]["digests"] = {"actor": "ab" * 32}
    assert found(verify_events(added)) == ("edited", 3, 3)


def write(path: Path, lines: list[Any], trailer: str | None = None) -> Path:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    if trailer is not None:
        text += json.dumps({"checkpoint": trailer}) + "\n"
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def note_of(checkpoint: Checkpoint) -> str:
    return write_note(checkpoint, key_name="k", private_key=KEY)


@pytest.mark.parametrize("name", ["export.ndjson", "export.ndjson.gz"])
def test_a_file_verifies_against_its_trailer_or_a_file(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, GOOD, note_of(signed(11)))
    verdict = verify_file(path, None, KEYS)
    assert (verdict.ok, verdict.checked, verdict.checkpoint_seq) == (True, 12, 11)
    assert verify_file(path).checkpoint_seq is None
    note = tmp_path / "checkpoint.txt"
    note.write_text(note_of(signed(12)), "utf-8")
    assert verify_file(path, note, KEYS).checkpoint_seq == 12
    cut = write(tmp_path / f"cut-{name}", GOOD[:10], note_of(signed(11)))
    assert found(verify_file(cut, None, KEYS)) == ("truncated", 11, 11)
    assert found(verify_file(cut, note, KEYS)) == ("truncated", 11, 11)
    assert verify_file(write(tmp_path / f"later-{name}", GOOD[5:]), start=(5, bytes.fromhex(GOOD[4]["hash"]))).ok


def test_a_checkpoint_nobody_known_signed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "export.ndjson", GOOD, note_of(signed(11)))
    note = tmp_path / "checkpoint.txt"
    note.write_text(note_of(signed(12)), "utf-8")
    with pytest.raises(BadCheckpoint):
        verify_file(path, note, {})
    with pytest.raises(BadCheckpoint):
        verify_file(path, None, {"k": Ed25519PrivateKey.generate().public_key()})
    note.write_bytes(b"\xff\xfe")
    with pytest.raises(BadCheckpoint):
        verify_file(path, note, KEYS)
    with pytest.raises(FileNotFoundError):
        verify_file(tmp_path / "absent.ndjson")


def test_lines_that_two_parsers_read_differently_are_malformed(tmp_path: Path) -> None:
    good = [json.dumps(row) for row in GOOD]
    for bad in (
        good[2].replace('"action":', '"action": "other", "action":', 1),
        good[2].replace('"category":', '"\\u0061ction": "other", "category":', 1),
        good[2][:-10],
        "[]",
        "\ufeff" + good[2],
    ):
        path = tmp_path / "export.ndjson"
        path.write_text("\n".join([good[0], "", good[1], bad, *good[3:]]), "utf-8")
        kind, _, line = found(verify_file(path))
        assert (kind, line) == ("malformed", 4)


def test_digits_that_a_double_loses_do_not_pass(tmp_path: Path) -> None:
    text = "\n".join(json.dumps(row) for row in GOOD)
    path = tmp_path / "export.ndjson"
    path.write_text(text.replace("1e+20", "100000000000000000000"))
    assert verify_file(path).ok
    path.write_text(text.replace("1e+20", "100000000000000000001", 1))
    assert found(verify_file(path))[0] == "malformed"


def test_a_damaged_gzip_is_told_from_a_short_one(tmp_path: Path) -> None:
    whole = write(tmp_path / "export.ndjson.gz", GOOD).read_bytes()
    for damaged in (whole[:-30], whole[:200] + bytes(40) + whole[240:], whole + b"junk"):
        path = tmp_path / "damaged.gz"
        path.write_bytes(damaged)
        assert found(verify_file(path))[0] == "malformed"


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "export.ndjson", GOOD)
    longest = max(map(len, path.read_bytes().splitlines(keepends=True)))
    monkeypatch.setattr("mainstay.events.exported.MAX_LINE_BYTES", longest)
    assert verify_file(path).ok
    monkeypatch.setattr("mainstay.events.exported.MAX_LINE_BYTES", longest - 1)
    assert found(verify_file(path))[0] == "malformed"


def test_a_deep_payload_still_reads_as_one_line(tmp_path: Path) -> None:
    deep: Any = []
    for _ in range(30):
        deep = [deep]
    sent = {**given_event(1), "payload": {"deep": deep}}
    assert verify_file(write(tmp_path / "deep.ndjson", [exported(sent, 1, GENESIS)])).ok


def test_verification_keeps_up_and_stays_flat() -> None:
    usual = {**given_event(1), "payload": {"amount": 1250, "currency": "EUR", "ids": ["a", "b"], "note": "x" * 200}}
    row = json.dumps(exported(usual, 1, GENESIS))

    def stream(count: int) -> Iterator[dict[str, Any]]:
        prev = GENESIS
        for seq in range(1, count + 1):
            event = exported(usual, seq, prev)
            prev = bytes.fromhex(event["hash"])
            yield event

    ready = list(stream(5_000))
    began = time.process_time()
    assert verify_events(ready).checked == 5_000
    rate = 5_000 / (time.process_time() - began)
    print(f"offline verification: {rate:,.0f} events/s of {len(row)} bytes")
    assert rate > 5_000, "a quarter of the target, so that a busy machine does not fail it"
    tracemalloc.start()
    assert verify_events(stream(2_000)).ok
    _, small = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    assert verify_events(stream(8_000)).ok
    _, large = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert large < small + 600_000


def test_a_shuffled_file_is_a_reordering_and_company_ids_count() -> None:
    shuffled = rows()
    random.Random(7).shuffle(shuffled)
    assert found(verify_events(shuffled))[0] == "reordered"
    changed = rows()
    changed[0]["companyId"] = COMPANY[:-1] + "f"
    assert found(verify_events(changed)) == ("edited", 1, 1)
