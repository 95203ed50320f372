"""The frame that all pages share: areas, templates, and the headers under which a page is served."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mainstay.console import payload, queues_words, shown
from mainstay.console.assets import Assets

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
    "vary": "HX-Request, Cookie",
}


@dataclass(frozen=True, slots=True)
class Action:
    """Something to do that the command palette offers to whoever may do `act`."""

    label: str
    href: str
    act: str = "account.use"


@dataclass(frozen=True, slots=True)
class Area:
    """A place in the navigation. `group` is the heading under which it stands; the first group has none. Who may not do
    `act` of `web.roles` does not see it."""

    title: str
    href: str
    icon: str
    group: str = ""
    actions: tuple[Action, ...] = ()
    act: str = "account.use"
    operators_only: bool = False

    def is_at(self, path: str) -> bool:
        """Whether a page belongs to the area."""
        return path == self.href or (self.href != "/console" and path.startswith(self.href + "/"))


class Frame:
    """Templates and assets."""

    def __init__(self, areas: Sequence[Area]) -> None:
        self.areas = tuple(areas)
        self.assets = Assets()
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters.update(shown.FILTERS, rate=queues_words.rate_of)
        self._templates.globals.update(
            asset=self.assets.address, marked=payload.marked, plain=payload.plain, ago=_ago, now=_now
        )

    def html(self, template: str, context: Mapping[str, Any]) -> str:
        """The template as text."""
        return self._templates.get_template(template).render(context)

    def piece(self, template: str, macro: str, *args: Any, **more: Any) -> str:
        """What one macro of a template gives, as live parts of a page need it."""
        return str(getattr(self._templates.get_template(template).module, macro)(*args, **more))

    def respond(
        self, template: str, context: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> HTMLResponse:
        """The template as an answer under the policy of all pages."""
        return HTMLResponse(self.html(template, context), status, {**HEADERS, **(headers or {})})


def _now() -> datetime:
    return datetime.now(UTC)


def _ago(moment: datetime) -> str:
    return shown.ago(moment, _now())
