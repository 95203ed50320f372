"""A page of a list: its limit, its cursor, and what the answer says about it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Query, Request

from mainstay.kernel import paging
from mainstay.kernel.errors import Fault, Invalid
from mainstay.kernel.paging import Cursors
from mainstay.web.json import Answer, refuse_unknown_query

T = TypeVar("T")
Limit = Annotated[str, Query(description=f"1 to {paging.MAX_LIMIT}")]
Cursor = Annotated[str | None, Query(max_length=1_024, description="`meta.nextCursor` of the page before")]
DEFAULT = str(paging.DEFAULT_LIMIT)


@dataclass(frozen=True, slots=True)
class Page:
    """Where a list is read on: behind the id, so many and one more that tells whether there is a next page."""

    cursors: Cursors
    scope: str
    limit: int
    position: str | None

    @property
    def one_more(self) -> int:
        """How many to read."""
        return self.limit + 1

    def answer(self, found: Sequence[T], total: int, shown: Callable[[T], Any], id_of: Callable[[T], str]) -> Answer:
        """The page as it is answered; totals are exact, as what is listed is limited."""
        page = found[: self.limit]
        more = self.cursors.seal(self.scope, [id_of(page[-1])]) if len(found) > self.limit else None
        meta = {"limit": self.limit, "total": total, "totalIsExact": True, "nextCursor": more}
        return Answer({"data": [shown(one) for one in page], "meta": meta})

    @property
    def is_first(self) -> bool:
        """Whether it is the page of whoever asks for nothing else."""
        return self.position is None and self.limit == paging.DEFAULT_LIMIT


def page_of(
    request: Request, cursors: Cursors, scope: str, limit: str, cursor: str | None, known: frozenset[str] = frozenset()
) -> Page:
    """The page that the request asks for; Invalid for other parameters than `known`, `limit` and `cursor`."""
    refuse_unknown_query(request, known | {"limit", "cursor"})
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 9):
        raise Invalid(faults=[Fault("must be a whole number", "limit")])
    position = None if cursor is None else str(cursors.open(scope, cursor)[0])
    return Page(cursors, scope, paging.check_limit(int(limit)), position)


def choice_of(value: str | None, known: Sequence[str], name: str) -> Any:
    """The value where it is one of those known, or None; Invalid."""
    if value is not None and value not in known:
        raise Invalid(faults=[Fault(f"must be one of {', '.join(known)}", name)])
    return value
