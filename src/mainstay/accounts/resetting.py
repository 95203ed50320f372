"""A new password for somebody who has forgotten theirs, by a link that goes to their address."""

import base64
from typing import Any

import orjson
from prometheus_client import Counter

from mainstay import identity, jobs
from mainstay.accounts import announcing, letters, links
from mainstay.accounts.ground import Ground
from mainstay.accounts.link_errors import LinkOver
from mainstay.accounts.passwords_changing import NEW, known_names, replace_password
from mainstay.accounts.queries import credentials as rows
from mainstay.kernel.crypto import Keyring, digest_of
from mainstay.kernel.db import Database, Tx
from mainstay.kernel.outbox import Actor
from mainstay.kernel.telemetry import REGISTRY
from mainstay.kernel.work import Job

FORGOT = "accounts.forgot_password"
QUEUE = "nova:email"
ASKED = Counter("password_resets_asked_total", "New passwords asked for", ["outcome"], registry=REGISTRY)
_CONTEXT = b"forgot"


async def ask_for_reset(db: Database, keyring: Keyring, *, email: str, address: str) -> None:
    """The request waits for a worker, the same whether anybody has that address or not; Invalid where it is none.

    Somebody who asks again before that has not asked twice. What waits is sealed.
    """
    key = identity.names.check_email(email)[1]
    sealed = keyring.seal(orjson.dumps({"email": key, "address": address}), _CONTEXT)
    payload = {"request": base64.b64encode(sealed).decode()}
    async with db.begin() as tx:
        await jobs.enqueue(tx, FORGOT, payload, queue=QUEUE, priority=0, dedupe_key=digest_of(f"forgot:{key}").hex())


async def send_reset(tx: Tx, keyring: Keyring, job: Job) -> None:
    """A letter with a link waits for the person of the request, and `password.reset_requested` is announced.

    Nothing happens where nobody has the address, where they are suspended, or after five such letters within the hour.
    """
    request: dict[str, Any] = orjson.loads(keyring.open(base64.b64decode(job.payload["request"]), _CONTEXT))
    person = await rows.find_person_by_email_everywhere(tx, request["email"])
    if person is None or person["suspended_at"] is not None:
        ASKED.labels("nobody").inc()
        return
    person_id = str(person["id"])
    if await letters.is_enough(tx, person_id, "password_reset"):
        ASKED.labels("too_often").inc()
        return
    token = await links.make_link(tx, "password_reset", person_id, person_id=person_id)
    await letters.write_letter(
        tx,
        keyring,
        to=person["email"],
        kind="password_reset",
        data={"name": person["name"]},
        person_id=person_id,
        link_token=token,
    )
    actor = Actor(kind="job", id=str(job.id), name=FORGOT)
    data = {"email": person["email"], "address": request["address"]}
    await announcing.announce(tx, "password.reset_requested", actor=actor, person_id=person_id, data=data)
    ASKED.labels("written").inc()


async def reset_password(ground: Ground, *, token: str, new: str) -> None:
    """The password is the new one, every session has ended, the link is used up; `password.reset` is announced.

    Nobody is signed in by this: a login asks for the second factor as ever. The address is confirmed, since the link
    came there. LinkOver; Invalid leaves the link as it is.
    """
    link = await links.find_link(ground.db, "password_reset", token)
    person = None if link is None else await rows.find_person_everywhere(ground.db, link.subject)
    if person is None or person["suspended_at"] is not None:
        raise LinkOver
    made = await ground.passwords.hash(new, context=await known_names(ground.db, person, ground), pointer=NEW)
    async with ground.db.begin() as tx:
        await links.use_link(tx, "password_reset", token)
        ended = await replace_password(tx, ground, person, made)
        await rows.confirm_email_everywhere(tx, str(person["id"]), person["email_key"])
        actor = announcing.actor_of(person)
        data = {"sessionsEnded": ended}
        await announcing.announce(tx, "password.reset", actor=actor, person_id=str(person["id"]), data=data)
