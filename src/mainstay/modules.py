"""Modules of the team that runs Mainstay, named by MODULES: their tasks, schedules and functions run beside our own."""

import importlib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from mainstay.functions import Function, Registry
from mainstay.kernel.settings import SettingsError
from mainstay.kernel.work import Schedule, Task

_TYPES: dict[str, type[Any]] = {"tasks": Task, "schedules": Schedule, "functions": Function}


@dataclass(frozen=True, slots=True)
class HostWork:
    """What the modules bring: tasks, all of them public, schedules of these tasks, functions."""

    tasks: Sequence[Task] = ()
    schedules: Sequence[Schedule] = ()
    functions: Sequence[Function] = ()

    @property
    def queues(self) -> list[str]:
        """The queues of the tasks."""
        return sorted({task.queue for task in self.tasks})


@dataclass(slots=True)
class _Found:
    tasks: list[Task] = field(default_factory=list)
    schedules: list[Schedule] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)


def load(names: Sequence[str]) -> HostWork:
    """What the modules of these names bring; SettingsError says which one cannot be used, and why.

    They are looked for where Python looks, and then in the working directory.
    """
    if names and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    found = _Found()
    for name in names:
        module = _import(name)
        brought = {what: _brought(module, name, what) for what in _TYPES}
        if not any(brought.values()):
            raise SettingsError(f"MODULES: {name} has no tasks, schedules or functions")
        found.tasks += [replace(task, is_public=True) for task in brought["tasks"]]
        found.schedules += brought["schedules"]
        found.functions += brought["functions"]
    _check(found)
    return HostWork(found.tasks, found.schedules, found.functions)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise SettingsError(f"MODULES: {name} cannot be imported: {type(error).__name__}: {error}") from error


def _brought(module: Any, name: str, what: str) -> list[Any]:
    """The module's attribute of that name: a sequence, or what it gives when called."""
    given = getattr(module, what, ())
    if isinstance(given, ModuleType):  # an import of ours by that name, not the module's own
        return []
    try:
        found = list(given() if callable(given) else given)
    except Exception as error:
        raise SettingsError(f"MODULES: {name}.{what} cannot be read: {type(error).__name__}: {error}") from error
    wrong = next((one for one in found if not isinstance(one, _TYPES[what])), None)
    if wrong is not None:
        raise SettingsError(f"MODULES: {name}.{what} holds {type(wrong).__name__}, which is no {_TYPES[what].__name__}")
    return found


def check_apart(host: HostWork, kinds: Iterable[str], schedules: Iterable[str]) -> None:
    """Passes work whose kinds and schedules are none of these, which are our own; SettingsError names the others."""
    taken = sorted({task.kind for task in host.tasks} & set(kinds))
    taken += sorted({one.name for one in host.schedules} & set(schedules))
    if taken:
        raise SettingsError(f"MODULES: these names are Mainstay's own: {', '.join(taken)}")


def _check(found: _Found) -> None:
    kinds: set[str] = set()
    for task in found.tasks:
        if task.kind in kinds:
            raise SettingsError(f"MODULES: there are two tasks of the kind {task.kind}")
        if (
            not 0 < len(task.kind) <= 200
            or not 0 < len(task.queue) <= 100
            or not (task.kind + task.queue).isprintable()
        ):
            raise SettingsError(f"MODULES: the kind {task.kind!r} or its queue {task.queue!r} cannot be a name")
        if not 0 <= task.priority <= 10 or not (task.attempts is None or 1 <= task.attempts <= 1000):
            raise SettingsError(f"MODULES: {task.kind}: a priority is 0 to 10, attempts are 1 to 1000")
        kinds.add(task.kind)
    names = [one.name for one in found.schedules]
    if len(set(names)) < len(names):
        raise SettingsError(f"MODULES: there are two schedules named {max(names, key=names.count)}")
    unknown = sorted({one.kind for one in found.schedules} - kinds)
    if unknown:
        raise SettingsError(f"MODULES: schedules name kinds without a task: {', '.join(unknown)}")
    try:
        Registry(found.functions)
    except Exception as error:
        raise SettingsError(f"MODULES: {error}") from error


__all__ = ["HostWork", "check_apart", "load"]
