"""Packages of npm that tests want beside Mainstay: installed once outside the tree, shared by later runs."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skips the test, or fails it where every peer is required."""
    if os.environ.get("MAINSTAY_REQUIRE_PEERS") == "1":
        pytest.fail(f"MAINSTAY_REQUIRE_PEERS=1, but {what}")
    pytest.skip(what)


def installed(name: str, peers: Path, files: Sequence[str]) -> Path:
    """A directory with these files of `peers` and the locked packages; tests without npm are skipped, or fail."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        missing("node and npm are not installed")
    digest = hashlib.sha256(b"".join((peers / file).read_bytes() for file in files)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mainstay-tests"
    home = cache / f"{name}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "installed").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            for file in files:
                shutil.copy(peers / file, home / file)
            done = subprocess.run(
                ["npm", "ci", "--ignore-scripts"], cwd=home, capture_output=True, text=True, timeout=100, check=False
            )
            if done.returncode != 0:
                missing(f"npm ci failed: {done.stderr[-500:]}")
            (home / "installed").touch()
    return home
