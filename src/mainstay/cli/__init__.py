"""The command line: one program that runs Mainstay, administers it and talks to it.

    run         up (everything on this machine) | api | worker | migrate | doctor
    administer  companies | workspaces | keys | archive  straight on DATABASE_URL, as the operator
                limits                                   the same: how often who may call, and whom that refuses
                cache                                    what is cached, and clearing it by hand
                people | letters                         the same: suspended, without second factor; what waits for them
                queues | jobs | schedules                the same: what waits, runs, failed and comes
                restrict | auth-log | roles              people's routes closed; what was refused; who may what
                emitted                                  what SQL emitted and was refused
    use         events send, list, export, import        over HTTP with an API key
                webhooks listen, doctor | verify         what a customer's developer or auditor needs

Guarantees: exit 0 done, 1 failed, 2 wrong usage or settings, 130 interrupted. What a script reads goes to standard
output, everything else to standard error. Secrets come from the environment or a prompt, never from arguments, with
one exception that a receiver under test may need (`--secret` of `webhooks listen` and `webhooks doctor`). Errors say
what to do.

A command's module is loaded when the command is used, so that small commands start quickly.
"""

import gc
import importlib
from typing import Any

import typer
from typer.core import TyperGroup

from mainstay import __version__

_COMMANDS = {
    "up": ("up", "up"),
    "api": ("serving", "api"),
    "worker": ("serving", "worker"),
    "migrate": ("serving", "migrate"),
    "doctor": ("doctor", "doctor"),
    "roles": ("roles", "roles"),
    "restrict": ("restricting", "restrict"),
    "auth-log": ("auth_log", "auth_log"),
    "companies": ("companies", "companies"),
    "workspaces": ("companies", "workspaces"),
    "people": ("people", "people"),
    "letters": ("letters", "letters"),
    "keys": ("keys", "keys"),
    "limits": ("limits", "limits"),
    "cache": ("caching", "cache"),
    "emitted": ("emitted", "emitted"),
    "events": ("events", "events"),
    "archive": ("archive", "archive"),
    "queues": ("queues", "queues"),
    "jobs": ("jobs", "jobs"),
    "schedules": ("schedules", "schedules"),
    "functions": ("functions", "functions"),
    "webhooks": ("webhooks", "webhooks"),
    "verify": ("verify", "verify"),
}
"""Command -> (module here, its function or its group of commands)."""


class _Commands(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute = _COMMANDS[cmd_name]
        found: Any = getattr(importlib.import_module(f"mainstay.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            return typer.main.get_command(found)
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(cmd_name)(found)
        return typer.main.get_command(single)


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)


@app.callback(invoke_without_command=True)
def _start(version: bool = typer.Option(False, "--version", help="Print the version and end.")) -> None:
    """Mainstay: audit events, signed webhooks and jobs on one PostgreSQL.

    Start with 'mainstay up'. Every command tells more with --help.
    """
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Runs the command that the process was called with."""
    # What is loaded at the start stays: to look for garbage in it again and again takes a seventh of the start.
    gc.set_threshold(100_000, 50, 100)
    app(prog_name="mainstay")


__all__ = ["app", "main"]
