"""Letters on what other rooms did to an account, once for each time that they announced it."""

from typing import Final

from mainstay.accounts import letters
from mainstay.accounts.queries import credentials as rows
from mainstay.kernel.crypto import Keyring
from mainstay.kernel.db import Tx

MFA_CHANGES: Final = {
    "mfa.enabled": "enabled",
    "mfa.disabled": "disabled",
    "mfa.codes_renewed": "codes_renewed",
    "mfa.code_refused": "code_refused",
    "mfa.reset": "reset",
}
"""What is announced of second factors, and the words that a letter has for it."""


async def tell_of_mfa(tx: Tx, keyring: Keyring, name: str, *, person_id: str, fact_id: str) -> None:
    """A letter tells the person of what was announced under that name; once a fact, and nobody who is gone."""
    person = await rows.find_person_everywhere(tx, person_id)
    if person is None:
        return
    await letters.write_letter(
        tx,
        keyring,
        to=person["email"],
        kind="mfa_changed",
        data={"name": person["name"], "change": MFA_CHANGES[name]},
        person_id=person_id,
        letter_id=fact_id,
    )
