"""Signed checkpoints of a workspace's chain, as notes in the C2SP signed-note form with Ed25519."""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_NOTE_BYTES = 16 * 1024

_ORIGIN = "mainstay/workspace/"
_ED25519 = b"\x01"
_NOTE = re.compile(
    r"mainstay/workspace/(?P<workspace_id>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\n"
    r"(?P<seq>0|[1-9][0-9]{0,18})\n"
    r"(?P<hash>[A-Za-z0-9+/]{43}=)\n"
    r"time (?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z)\n"
)
_SIGNATURE = re.compile(r"— (?P<name>[^\s+]+) (?P<blob>[A-Za-z0-9+/]+={0,2})")
_KEY_NAME = re.compile(r"[^\s+]+")


class BadCheckpoint(ValueError):
    """The text is no checkpoint, or no known key signed it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a signer saw: at `time` the workspace's chain stood at `seq` with `hash`."""

    workspace_id: str
    seq: int
    hash: bytes
    time: str


def write_note(checkpoint: Checkpoint, *, key_name: str, private_key: Ed25519PrivateKey) -> str:
    """Returns the checkpoint as a signed note; raises BadCheckpoint where its values do not fit the form."""
    body = (
        f"{_ORIGIN}{checkpoint.workspace_id}\n{checkpoint.seq}\n"
        f"{base64.b64encode(checkpoint.hash).decode()}\ntime {checkpoint.time}\n"
    )
    if _NOTE.fullmatch(body) is None:
        raise BadCheckpoint("the checkpoint's values do not fit the note's form")
    public_key = private_key.public_key()
    blob = key_hash(key_name, public_key) + private_key.sign(body.encode())
    return f"{body}\n— {key_name} {base64.b64encode(blob).decode()}\n"


def read_note(text: str) -> Checkpoint:
    """Returns what the note says, signed or not; raises BadCheckpoint for another form."""
    return _parse(text)[0]


def verify_note(text: str, keys: Mapping[str, Ed25519PublicKey]) -> Checkpoint:
    """Returns what the note says where at least one known key signed it; raises BadCheckpoint.

    Signatures of unknown keys are ignored (keys rotate, witnesses add theirs); a false one of a known key is refused.
    """
    checkpoint, body, signatures = _parse(text)
    known = 0
    for name, blob in signatures:
        key = keys.get(name)
        if key is None or blob[:4] != key_hash(name, key):
            continue
        try:
            key.verify(blob[4:], body)
        except InvalidSignature:
            raise BadCheckpoint(f"the signature of {name} does not fit the note") from None
        known += 1
    if not known:
        raise BadCheckpoint("no known key signed the note")
    return checkpoint


def key_hash(key_name: str, public_key: Ed25519PublicKey) -> bytes:
    """Returns the four bytes that tell keys of one name apart: SHA-256(name ‖ LF ‖ 0x01 ‖ key)[:4]."""
    if _KEY_NAME.fullmatch(key_name) is None:
        raise BadCheckpoint("a key's name is not empty and has neither white space nor a plus sign")
    return hashlib.sha256(key_name.encode() + b"\n" + _ED25519 + public_key.public_bytes_raw()).digest()[:4]


def public_key_text(key_name: str, public_key: Ed25519PublicKey) -> str:
    """Returns the key as auditors keep it: `name+hash+base64(0x01 ‖ key)`."""
    encoded = base64.b64encode(_ED25519 + public_key.public_bytes_raw()).decode()
    return f"{key_name}+{key_hash(key_name, public_key).hex()}+{encoded}"


def read_public_key(text: str) -> tuple[str, Ed25519PublicKey]:
    """Returns name and key of `name+hash+base64`; raises BadCheckpoint."""
    try:
        name, stated_hash, encoded = text.strip().split("+", 2)
        blob = base64.b64decode(encoded, validate=True)
        public_key = Ed25519PublicKey.from_public_bytes(blob[1:])
    except (ValueError, binascii.Error):
        raise BadCheckpoint("a public key reads name+hash+base64") from None
    if blob[:1] != _ED25519 or key_hash(name, public_key).hex() != stated_hash:
        raise BadCheckpoint("the public key is not Ed25519 or its hash does not fit")
    return name, public_key


def _parse(text: str) -> tuple[Checkpoint, bytes, list[tuple[str, bytes]]]:
    if len(text) > MAX_NOTE_BYTES:
        raise BadCheckpoint(f"a note has at most {MAX_NOTE_BYTES} characters")
    body, blank, tail = text.partition("\n\n")
    body += "\n"
    said = _NOTE.fullmatch(body)
    if said is None or not blank or not tail.endswith("\n"):
        raise BadCheckpoint("the text is not a checkpoint note")
    signatures = []
    for line in tail[:-1].split("\n"):
        found = _SIGNATURE.fullmatch(line)
        if found is None:
            raise BadCheckpoint("a signature line of the note is malformed")
        try:
            blob = base64.b64decode(found["blob"], validate=True)
        except binascii.Error:
            raise BadCheckpoint("a signature of the note is not base64") from None
        signatures.append((found["name"], blob))
    checkpoint = Checkpoint(said["workspace_id"], int(said["seq"]), base64.b64decode(said["hash"]), said["time"])
    return checkpoint, body.encode(), signatures
