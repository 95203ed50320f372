"""Every measurement still runs, as small as it gets; its figures mean nothing here."""

import os
import subprocess
import sys

import pytest

from benchmarks.delivery.isolation import paths_of
from tests.architecture.sources import ROOT

SMALLEST = {
    "jobs": ["--jobs", "500", "--runs", "1", "--sides", "bare,ours"],
    "delivery": ["--deliveries", "200", "--endpoints", "10", "--rounds", "1", "--sides", "bare,ours"],
    "reading": ["--rows", "3000", "--requests", "5"],
    "growth": ["--only", "history,tenants", "--history", "300", "--flood", "300"],
    "functions": ["--runs", "30", "--rounds", "1", "--sides", "ours"],
    "schedules": ["--schedules", "5", "--seconds", "1", "--warm", "0", "--sides", "ours"],
    "limits": [
        "--checks",
        "100",
        "--rounds",
        "1",
        "--at-once",
        "4",
        "--keys",
        "20",
        "--sides",
        "memory,postgresql,redis",
    ],
    "tail": ["--tails", "1", "5", "--seconds", "2", "--rate", "300"],
}
SAYS = {
    "jobs": "ours to the bare loop: ",
    "delivery": "ours to the bare loop: ",
    "reading": "A deep page of events",
    "growth": "Goal, the most under a second",
    "functions": "steps a second: ",
    "schedules": "schedules due each second | lateness",
    "limits": "us CPU",
    "tail": "| open tails | statements/s |",
}


@pytest.mark.parametrize("name", SMALLEST)
def test_a_measurement_runs_and_prints_its_ratio(name: str, server_url: str) -> None:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--database-url", server_url, *SMALLEST[name]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert SAYS[name] in done.stdout


@pytest.mark.parametrize(("endpoints", "sick"), [(2, 1), (100, 1), (199, 1), (200, 2), (1_000, 10)])
def test_one_endpoint_in_a_hundred_hangs_and_one_fails(endpoints: int, sick: int) -> None:
    paths = paths_of(endpoints, with_sick=True)
    assert (len(paths), paths.count("/hang"), paths.count("/fail")) == (endpoints, sick, sick)
    assert set(paths_of(endpoints, with_sick=False)) == {"/ok"}
