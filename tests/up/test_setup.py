"""The set-up behind `make`: what it installs, when it does nothing, and what it says when it cannot."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("python3", "python3.14", "python3.13", "python3.12", "python3.11", "python")

PYTHON = """#!/bin/sh
echo "$0 $*" >>"$CALLS"
case "$1 $2" in
--version*) echo "Python $VERSION" ;;
"-m venv") [ "$3" = --clear ] && mkdir -p "$4/bin" "$4/site" && cp "$0" "$4/bin/python" ;;
"-m pip") exit "${PIP_CODE:-0}" ;;
-c*"version_info"*) [ "$VERSION" != 3.9.2 ] ;;
-c*"ensurepip"*) [ -z "${NO_VENV:-}" ] ;;
-c*"purelib"*) echo "$(dirname "$(dirname "$0")")/site" ;;
esac
"""


class Checkout:
    """A copy of the set-up with a Python that only writes down how it was called."""

    def __init__(self, path: Path) -> None:
        self.root = path / "a checkout"
        self.venv = self.root / ".venv"
        self.calls = path / "calls"
        self.programs = path / "programs"
        (self.root / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "setup", self.root / "scripts")
        (self.root / "some.lock").write_text("one==1\n")
        self.programs.mkdir()
        for name in NAMES:
            (self.programs / name).write_text(PYTHON)
            (self.programs / name).chmod(0o755)

    def set_up(
        self, *, venv: str | None = None, version: str = "3.12.1", **given: str
    ) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        environment = {"PATH": f"{self.programs}:/usr/bin:/bin", "CALLS": str(self.calls), "VERSION": version, **given}
        return subprocess.run(
            [str(self.root / "scripts" / "setup"), venv or str(self.venv), "some.lock"],
            env=environment,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def installs(self) -> list[str]:
        return [line.partition("-m pip ")[2] for line in self.calls.read_text().splitlines() if "-m pip " in line]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_only_what_the_lock_names_is_installed_and_the_checkout_joins_by_a_path(checkout: Checkout) -> None:
    done = checkout.set_up()
    assert done.returncode == 0, done.stderr
    (install,) = checkout.installs()
    assert "--require-hashes" in install
    assert install.endswith(f"-r {checkout.root}/some.lock")
    assert (checkout.venv / "site" / "mainstay-checkout.pth").read_text() == f"{checkout.root}/src\n"
    assert os.access(checkout.venv / "bin" / "mainstay", os.X_OK)
    assert not list(checkout.root.glob("*.setting-up"))


def test_a_second_time_it_does_nothing_until_the_lock_changes(checkout: Checkout) -> None:
    checkout.set_up()
    assert (checkout.set_up().stdout, checkout.installs()) == ("", [])
    (checkout.root / "some.lock").write_text("one==2\n")
    assert checkout.set_up().returncode == 0
    assert len(checkout.installs()) == 1


def test_an_install_that_failed_is_said_and_done_again(checkout: Checkout) -> None:
    failed = checkout.set_up(PIP_CODE="1")
    assert failed.returncode == 1
    assert "pip could not install some.lock" in failed.stderr
    assert checkout.set_up().returncode == 0
    assert len(checkout.installs()) == 1


def test_a_python_that_is_too_old_is_named(checkout: Checkout) -> None:
    refused = checkout.set_up(version="3.9.2")
    assert refused.returncode == 1
    assert "set-up: Python 3.11 or newer is needed, Python 3.9.2 is here" in refused.stderr
    assert not checkout.venv.exists()


def test_a_python_without_venv_is_told_how_to_get_it(checkout: Checkout) -> None:
    refused = checkout.set_up(NO_VENV="1")
    assert (refused.returncode, "python3-venv on Debian" in refused.stderr) == (1, True)


def test_a_set_up_that_was_killed_is_no_obstacle(checkout: Checkout) -> None:
    turn = checkout.root / ".venv.setting-up"
    turn.mkdir()
    (turn / "pid").write_text("99999999\n")
    assert checkout.set_up().returncode == 0


def test_a_relative_environment_is_refused(checkout: Checkout) -> None:
    assert "must be an absolute path" in checkout.set_up(venv="somewhere").stderr


def test_every_script_parses_and_may_be_run() -> None:
    for path in (*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"):
        shell = path.read_text().partition("\n")[0].rpartition("/")[2].rpartition(" ")[2]
        if shell == "python3":
            compile(path.read_text(), path.name, "exec")
        else:
            assert shell in ("sh", "bash"), path
            subprocess.run([shell, "-n", str(path)], check=True)
        assert os.access(path, os.X_OK), path


def test_make_tells_what_there_is_from_any_directory(tmp_path: Path) -> None:
    told = subprocess.run(
        ["make", "-f", str(ROOT / "Makefile")], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert {"make up", "make test", "make bench", "make lock"} <= {
        line.strip()[:10].strip() for line in told.stdout.splitlines()
    }
