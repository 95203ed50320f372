import hashlib
import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mainstay.events import checkpoints
from mainstay.events.canonical import NotCanonical, canonical
from mainstay.events.chain import (
    GENESIS,
    PARTS,
    core,
    core_halves,
    core_of,
    digest,
    digests,
    leaf,
    link,
    salts,
    salts_for,
    time_text,
)
from mainstay.events.checkpoints import BadCheckpoint, Checkpoint, read_note, verify_note, write_note

from .chains import WORKSPACE, erased, export, exported, given_event

VECTORS = json.loads((Path(__file__).parents[2] / "docs/reference/hash-format-vectors.json").read_text("utf-8"))
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
PEOPLE = st.none() | st.dictionaries(st.sampled_from(["id", "email", "name"]), TEXT, min_size=1)


def test_a_chain_starts_at_32_zero_bytes() -> None:
    assert bytes(32) == GENESIS
    assert leaf(b"x") == hashlib.sha256(b"\x00x").digest()
    assert link(GENESIS, leaf(b"x")) == hashlib.sha256(bytes(32) + leaf(b"x")).digest()


def test_every_part_has_random_bytes_of_its_own() -> None:
    drawn = [salts(), *salts_for(50)]
    assert {len(one) for one in drawn} == {80}
    assert len({one[at : at + 16] for one in drawn for at in range(0, 80, 16)}) == 51 * 5
    assert salts_for(0) == []


def test_parts_take_their_salts_in_the_fixed_order() -> None:
    salt = bytes(range(80))
    assert PARTS == ("actor", "target", "payload", "metadata", "changes")
    expected = [hashlib.sha256(salt[at : at + 16] + b"{}").hexdigest() for at in range(0, 80, 16)]
    assert digests(salt, [b"{}"] * 5) == expected == [digest(salt[at : at + 16], b"{}") for at in range(0, 80, 16)]
    assert digests(salt, [None, b"{}", None, None, None]) == [None, expected[1], None, None, None]


def test_times_are_utc_with_six_digits() -> None:
    assert time_text(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05.000000Z"
    eastern = timezone(timedelta(hours=-5))
    assert time_text(datetime(2025, 12, 31, 23, 0, 0, 1, tzinfo=eastern)) == "2026-01-01T04:00:00.000001Z"


@given(
    texts=st.tuples(TEXT, TEXT, st.none() | TEXT),
    seq=st.integers(1, 2**53 - 1),
    actor=PEOPLE,
    target=st.none() | st.dictionaries(st.sampled_from(["id", "type"]), TEXT, min_size=1),
    objects=st.tuples(*[st.none() | st.dictionaries(TEXT, VALUES, max_size=3)] * 2),
    changes=st.none() | st.lists(st.fixed_dictionaries({"field": TEXT, "old": VALUES, "new": VALUES}), max_size=2),
)
def test_the_writers_core_is_the_verifiers_core_and_the_rfcs(
    texts: tuple[str, str, str | None], seq: int, actor: Any, target: Any, objects: Any, changes: Any
) -> None:
    sent = {
        **given_event(1),
        **dict(zip(("action", "category", "projectId"), texts, strict=True)),
        "actor": actor,
        "target": target,
        "payload": objects[0],
        "metadata": objects[1],
        "changes": changes,
    }
    event = exported(sent, seq, GENESIS)
    from_export = core_of(json.loads(json.dumps(event)))
    assert link(GENESIS, leaf(from_export)).hex() == event["hash"]
    assert from_export == rfc8785.dumps(json.loads(from_export))
    said = json.loads(from_export)
    assert said["action"] == texts[0]
    for part in PARTS:
        salt = bytes.fromhex(event["proof"]["salts"][part])
        plain = None if sent[part] is None else hashlib.sha256(salt + rfc8785.dumps(sent[part])).hexdigest()
        assert said[part] == plain


def test_the_core_has_exactly_the_members_of_the_format() -> None:
    names = (
        "action actor category changes companyId dataRegion id metadata occurredAt payload "
        "projectId receivedAt seq target traceId v workspaceId"
    )
    assert list(json.loads(core_of(export(1)[0]))) == names.split()


def test_the_database_has_only_two_values_to_fill_in() -> None:
    halves = core_halves(
        event_id="e",
        company_id="c",
        workspace_id="w",
        project_id=None,
        region="EU",
        action="a",
        category="b",
        occurred_at="2026-01-01T00:00:00.000000Z",
        trace_id="t",
        digests=[None, "aa", None, None, None],
    )
    assert halves[0].endswith(',"receivedAt":"')
    assert halves[1].startswith(',"target":"aa"')
    whole = core(halves, received_at="2026-01-01T00:00:01.000000Z", seq=7)
    assert whole == rfc8785.dumps(json.loads(whole))
    assert (json.loads(whole)["seq"], json.loads(whole)["receivedAt"]) == (7, "2026-01-01T00:00:01.000000Z")


def test_an_erasure_leaves_the_core_as_it_was() -> None:
    event = export(1)[0]
    gone = erased(event, *PARTS)
    assert "renée" not in json.dumps(gone, ensure_ascii=False)
    assert core_of(gone) == core_of(event)


@pytest.mark.parametrize("vector", VECTORS["canonical"], ids=lambda vector: vector["input"][:20])
def test_published_canonical_vectors(vector: dict[str, str]) -> None:
    assert canonical(vector["input"].encode()).decode() == vector["output"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["input"][:20])
def test_published_refusals(vector: dict[str, str]) -> None:
    with pytest.raises(NotCanonical) as caught:
        canonical(vector["input"].encode())
    assert caught.value.pointer == vector["pointer"]


def test_published_events_hash_as_they_say() -> None:
    prev = bytes(32)
    for vector in VECTORS["events"]:
        for part in vector["parts"].values():
            if "salt" in part:
                salted = bytes.fromhex(part["salt"]) + part["canonical"].encode()
                assert hashlib.sha256(salted).hexdigest() == part["digest"]
            assert f'"{part["digest"]}"' in vector["core"]
        assert core_of(vector["event"]).decode() == vector["core"]
        plain_leaf = hashlib.sha256(b"\x00" + vector["core"].encode()).digest()
        assert plain_leaf.hex() == vector["leaf"]
        prev = hashlib.sha256(prev + plain_leaf).digest()
        assert prev.hex() == vector["hash"] == vector["event"]["hash"]


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = {"example.mainstay": KEY.public_key()}
SEEN = Checkpoint(WORKSPACE, 7, bytes(range(32)), "2026-02-03T05:00:00.000000Z")


def test_a_note_reads_back_as_what_was_signed() -> None:
    note = write_note(SEEN, key_name="example.mainstay", private_key=KEY)
    assert re.fullmatch(
        rf"mainstay/workspace/{WORKSPACE}\n7\n\S{{44}}\ntime 2026-02-03T05:00:00.000000Z\n\n— example.mainstay \S+\n",
        note,
    )
    assert read_note(note) == verify_note(note, KEYS) == SEEN


def test_the_published_note_and_key_verify() -> None:
    published = VECTORS["checkpoint"]
    name, key = checkpoints.read_public_key(published["publicKey"])
    assert checkpoints.public_key_text(name, key) == published["publicKey"]
    assert verify_note(published["note"], {name: key}).hash.hex() == VECTORS["events"][-1]["hash"]


def test_signatures_of_strangers_are_passed_over() -> None:
    stranger = Ed25519PrivateKey.generate()
    note = write_note(SEEN, key_name="example.mainstay", private_key=KEY)
    theirs = write_note(SEEN, key_name="witness", private_key=stranger)
    same_name = write_note(SEEN, key_name="example.mainstay", private_key=stranger)
    both = theirs + same_name.split("\n\n")[1] + note.split("\n\n")[1]
    assert verify_note(both, KEYS) == SEEN
    for unknown in (theirs, same_name):
        with pytest.raises(BadCheckpoint, match="no known key"):
            verify_note(unknown, KEYS)
    with pytest.raises(BadCheckpoint, match="no known key"):
        verify_note(note, {})


@pytest.mark.parametrize("place", range(0, 290, 3))
def test_a_changed_note_never_verifies(place: int) -> None:
    note = write_note(SEEN, key_name="example.mainstay", private_key=KEY)
    at = place % len(note)
    changed = note[:at] + ("1" if note[at] != "1" else "2") + note[at + 1 :]
    with pytest.raises(BadCheckpoint):
        verify_note(changed, KEYS)


@pytest.mark.parametrize(
    "text", ["", "\n\n", "x" * 20_000, "mainstay/workspace/x\n1\n\n— a b\n", "mainstay/workspace/\n\n\n\n"]
)
def test_other_text_is_no_note(text: str) -> None:
    with pytest.raises(BadCheckpoint):
        read_note(text)


def test_values_that_do_not_fit_the_note_are_not_signed() -> None:
    for wrong in (
        Checkpoint("W", 7, bytes(32), SEEN.time),
        Checkpoint(WORKSPACE, -1, bytes(32), SEEN.time),
        Checkpoint(WORKSPACE, 7, bytes(31), SEEN.time),
        Checkpoint(WORKSPACE, 7, bytes(32), "2026-02-03T05:00:00Z"),
    ):
        with pytest.raises(BadCheckpoint):
            write_note(wrong, key_name="k", private_key=KEY)
    for name in ("", "a b", "a+b"):
        with pytest.raises(BadCheckpoint):
            write_note(SEEN, key_name=name, private_key=KEY)


@pytest.mark.parametrize(
    "text", ["", "a+b", "a+00000000+AQ==", "example.mainstay+638404a8+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"]
)
def test_other_text_is_no_public_key(text: str) -> None:
    with pytest.raises(BadCheckpoint):
        checkpoints.read_public_key(text)
