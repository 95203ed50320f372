"""Persons as they are kept while they have to be known: sealed, and as a keyed digest for ever."""

import hmac
from collections.abc import Sequence

import orjson

from mainstay import events
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.errors import Fault, Invalid

MAX_ALSO = 10
_PURPOSE = "erasure subject"


def named(
    actor_id: str | None, actor_email: str | None, also_known_as: Sequence[str] = (), parts: Sequence[str] = ()
) -> events.Eraser:
    """The person of a request; Invalid where neither an id nor an email is given."""
    if actor_id is None and actor_email is None:
        raise Invalid(faults=[Fault("name the person by actorId, by actorEmail, or by both")])
    return events.Eraser.of(
        actor_id=actor_id, actor_email=actor_email, also_known_as=also_known_as, parts=tuple(parts) or events.PARTS
    )


def sealed(keyring: Keyring, identifier: str, eraser: events.Eraser) -> bytes:
    """The person, to be opened beside the row of that id alone."""
    subject = eraser.subject
    known = {"id": subject.actor_id, "email": subject.actor_email, "also": subject.also_known_as}
    return keyring.seal(orjson.dumps(known), _context(identifier))


def opened(keyring: Keyring, identifier: str, kept: bytes, parts: Sequence[str] = ()) -> events.Eraser:
    """The person that was sealed beside that row."""
    known = orjson.loads(keyring.open(bytes(kept), _context(identifier)))
    return named(known["id"], known["email"], known["also"], parts)


def digest(keyring: Keyring, eraser: events.Eraser) -> bytes:
    """What tells two erasures of the same person without telling the person."""
    subject = eraser.subject
    text = orjson.dumps([subject.actor_id, subject.actor_email and subject.actor_email.lower()])
    return hmac.digest(keyring.derive(_PURPOSE), text, "sha256")


def are_same(one: events.Eraser, other: events.Eraser) -> bool:
    """Whether a text of the one names the other."""
    return any(
        mine.lower() == theirs.lower()
        for mine in (*one.subject.exact, *one.subject.folded)
        for theirs in (*other.subject.exact, *other.subject.folded)
    )


def _context(identifier: str) -> bytes:
    return f"subject {identifier}".encode()
