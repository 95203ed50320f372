"""Forms of one's own account, as they are shown and shown again."""

from collections.abc import Mapping
from typing import Any

from fastapi import Response

from mainstay.console.drafts import Draft
from mainstay.console.guards import Page
from mainstay.console.visiting import words_of
from mainstay.kernel.errors import MainstayError
from mainstay.web import refusals


def show_form(page: Page, template: str, draft: Draft, **more: Any) -> Response:
    """The form before anything was refused."""
    return page.show(template, draft=draft, refusal="", **more)


def refused(
    page: Page,
    template: str,
    draft: Draft,
    refusal: MainstayError,
    at: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """The form once more, with what was refused at its field or above it; our own failures, and a session that is
    over, are raised."""
    if refusal.status in (401, 500):
        raise refusal
    refusals.tell(page.request.scope, refusal)
    is_of_fields = draft.take(refusal, at)
    words = "" if is_of_fields else words_of(refusal)
    return page.show(template, status=refusal.status, draft=draft, refusal=words, **more)
