"""The one list of functions that a process knows, by id, by what starts them and by what cancels their runs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mainstay.functions.declaring import CancelOn, Event, Function
from mainstay.functions.errors import FunctionError, FunctionNotFound
from mainstay.kernel.work import Cron

FAILED = "function.failed"
FINISHED = "function.finished"
INVOKED = "function.invoked"
_ALSO = {f"inngest/{name}": name for name in (FAILED, FINISHED)}


class Registry:
    """Functions, each id once; an unknown one is refused."""

    def __init__(self, functions: Iterable[Function] = ()) -> None:
        self._own = list(functions)
        self._served: dict[str, list[Function]] = {}
        self._build()

    def serve(self, app_id: str, functions: Sequence[Function]) -> None:
        """The functions that an application serves are these, in place of those that it served before."""
        before = self._served.get(app_id)
        self._served[app_id] = list(functions)
        try:
            self._build()
        except FunctionError:
            self._served[app_id] = before or []
            self._build()
            raise

    def is_own(self, function_id: str) -> bool:
        """Whether a function of that id is declared in this process, and not served by an application."""
        return any(function_id in (one.id, f"{one.id}:failed" if one.on_failure else one.id) for one in self._own)

    def _build(self) -> None:
        self._by_id: dict[str, Function] = {}
        self._starts: dict[str, list[tuple[Function, Event]]] = {}
        self._cancels: dict[str, list[tuple[Function, CancelOn]]] = {}
        self._listens: set[str] = set()
        for function in (*self._own, *(one for served in self._served.values() for one in served)):
            self._add(function)
            if function.on_failure is not None:
                self._add(_failure_function(function))

    def _add(self, function: Function) -> None:
        if function.id in self._by_id:
            raise FunctionError(f"there are two functions {function.id!r}")
        self._by_id[function.id] = function
        self._listens.update(function.listens)
        for trigger in function.triggers:
            if isinstance(trigger, Event):
                self._starts.setdefault(plain_name(trigger.name), []).append((function, trigger))
        for cancel in function.cancel_on:
            self._cancels.setdefault(plain_name(cancel.name), []).append((function, cancel))

    def __iter__(self) -> Iterator[Function]:
        return iter(self._by_id.values())

    def get(self, function_id: str) -> Function:
        """The function; FunctionNotFound."""
        found = self._by_id.get(function_id)
        if found is None:
            raise FunctionNotFound(f"There is no function {function_id!r}.")
        return found

    def find(self, function_id: str) -> Function | None:
        """The function, where this process knows it."""
        return self._by_id.get(function_id)

    def started_by(self, event_name: str) -> Sequence[tuple[Function, Event]]:
        """Functions that an event of that name may start."""
        return self._starts.get(plain_name(event_name), ())

    def cancelled_by(self, event_name: str) -> Sequence[tuple[Function, CancelOn]]:
        """Functions whose runs an event of that name may cancel."""
        return self._cancels.get(plain_name(event_name), ())

    def event_names(self) -> frozenset[str]:
        """Every name that starts, cancels or is waited for."""
        return frozenset({*self._starts, *self._cancels, *self._listens})

    def crons(self) -> list[tuple[Function, Cron, int]]:
        """Every function that the clock starts, with when, and the how manieth of its crons that is."""
        return [
            (function, slots, number)
            for function in self._by_id.values()
            for number, slots in enumerate((one for one in function.triggers if isinstance(one, Cron)), 1)
        ]

    def groups(self) -> Mapping[str, list[Function]]:
        """The functions by group, as the documents list them: credit, kb, admin."""
        groups: dict[str, list[Function]] = {}
        for one in self._by_id.values():
            groups.setdefault(one.group, []).append(one)
        return groups


def plain_name(event_name: str) -> str:
    """The event's name; how runs ended is also known by the names that Inngest has for it."""
    return _ALSO.get(event_name, event_name)


def _failure_function(function: Function) -> Function:
    """What runs when runs of a function have failed: a function of its own, with attempts of its own."""
    assert function.on_failure is not None
    condition = f'event.data.function_id == "{function.id}"'
    triggers = [Event(FAILED, condition)]
    return Function(id=f"{function.id}:failed", run=function.on_failure, triggers=triggers, attempts=function.attempts)
