"""HTTP of letters, for operators: how many wait, and in the development profile what they say."""

from fastapi import APIRouter

from mainstay.accounts import letters
from mainstay.accounts.change_schemas import LettersAnswer, LetterShown, LettersShown
from mainstay.accounts.ground import Ground
from mainstay.accounts.letter_words import Written
from mainstay.accounts.letters import Letter
from mainstay.kernel.clock import iso
from mainstay.web.callers import Operator


def add_letter_routes(routes: APIRouter, ground: Ground) -> None:
    """Adds the route of letters."""

    @routes.get("/internal/letters", tags=["operators"])
    async def list_letters(_: Operator) -> LettersAnswer:
        """How many letters wait for a sender, by kind. Links are ways into accounts: shown in development only."""
        kinds = await letters.count_letters(ground.db)
        shown = None
        if ground.settings.profile == "development":
            found = await letters.read_letters(ground.db, ground.keyring, ground.settings)
            shown = [_shown(letter, written) for letter, written in found]
        return LettersAnswer(data=LettersShown(waiting=sum(kinds.values()), kinds=kinds, letters=shown))


def _shown(letter: Letter, written: Written) -> LetterShown:
    return LetterShown(
        id=letter.id,
        kind=letter.kind,
        recipient=letter.recipient,
        subject=written.subject,
        text=written.text,
        link=written.link,
        created_at=iso(letter.created_at),
        expires_at=None if letter.expires_at is None else iso(letter.expires_at),
    )
