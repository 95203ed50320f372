"""However `mainstay up` ends, nothing of it is left and the next start finds its data."""

import os
import signal
import time
from pathlib import Path

from tests.up.conftest import Starter
from tests.up.instances import Up, wait_until

KINDS = {"api", "worker", "postgres"}


def end_wholly(up: Up, data: Path, number: signal.Signals) -> None:
    """The signal ends everything within seconds, each process by itself, and nothing is left but the data."""
    names = {process.cmdline()[-1] for process in up.family} | {process.name() for process in up.family}
    assert names >= KINDS
    assert up.end(number) == 0
    assert "is killed" not in up.output, "each process ended by itself"
    assert up.left_over() == []
    assert up.lines[-1] == "stopped; the data stays where it is"
    assert not (data / "up.json").exists()


def test_the_signal_of_a_terminal_and_of_make_together_are_one_wish(data: Path, start: Starter) -> None:
    up = start(data).started()
    up.send(signal.SIGTERM)
    up.send(signal.SIGINT)
    assert up.code() == 0
    assert up.left_over() == []


def test_a_second_signal_forces_the_end(data: Path, start: Starter) -> None:
    up = start(data).started()
    up.child("worker").suspend()
    up.send(signal.SIGINT)
    up.said("stopping")
    time.sleep(1.2)
    assert up.end(signal.SIGINT) == 130
    wait_until(lambda: not up.left_over())


def test_the_next_start_finds_company_keys_and_events_unless_asked_for_a_fresh_one(data: Path, start: Starter) -> None:
    first = start(data).started()
    company, secrets = first.demo(), (data / "secrets.json").read_text()
    wait_until(lambda: first.events_in_production() > 1)
    count = first.events_in_production()
    end_wholly(first, data, signal.SIGINT)
    second = start(data).started()
    assert second.demo() == company
    assert second.events_in_production() >= count
    wait_until(lambda: second.figures().get("receiver verified", 0) > 0)
    assert second.figures()["receiver refused"] == 0
    assert second.end() == 0
    third = start(data, "--fresh").started()
    assert third.demo()["company_id"] != company["company_id"]
    assert third.demo()["people"][0]["email"] == company["people"][0]["email"]
    assert (data / "secrets.json").read_text() != secrets


def test_kill_9_leaves_no_orphan_and_the_next_start_recovers(data: Path, start: Starter) -> None:
    first = start(data).started()
    wait_until(lambda: first.events_in_production() > 1)
    count = first.events_in_production()
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(lambda: not first.left_over())
    second = start(data).started()
    assert second.events_in_production() >= count
    end_wholly(second, data, signal.SIGHUP)


def test_kill_9_while_starting_leaves_no_orphan_either(place: Path, start: Starter) -> None:
    first = start(place / "new")
    for _ in range(200):
        time.sleep(0.02)
        first.remember()
        if len(first.family) > 2:
            break
    os.kill(first.pid, signal.SIGKILL)
    first.code()
    wait_until(lambda: not first.left_over())
    assert start(place / "new").started().end() == 0
