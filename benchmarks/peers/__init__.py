"""Engines of others that are measured beside ours, installed apart from the product, from locked versions with hashes.

Two Python environments (BullMQ's package asks for an older library than PgQueuer does) and one Node directory, made
once under `$XDG_CACHE_HOME/mainstay-benchmarks` and made anew when a lock changes. To change a version, change
`*.in` or `package.json` and settle the lock again: `uv pip compile --universal --python-version 3.11
--generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links NAME.in -o NAME.txt`, and
`npm install --package-lock-only` with the `funding` entries taken out.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
_NODE_FILES = ("package.json", "package-lock.json", ".npmrc")
_OLDEST_NODE = 20


class Missing(Exception):
    """A peer cannot be measured here; the text says what is missing."""


def python(lock: str) -> Path:
    """The Python of an environment with exactly what this lock file names; Missing where it cannot be made."""
    return _made(lock.removesuffix(".txt"), [HERE / lock], lambda home: _make_python(home, lock)) / "bin" / "python"


def node(script: str) -> list[str]:
    """The command that runs this script beside its locked packages; Missing where Node or npm is not there."""
    program = shutil.which("node")
    if program is None or shutil.which("npm") is None:
        raise Missing("node and npm are not installed")
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < _OLDEST_NODE:
        raise Missing(f"node {version} is older than {_OLDEST_NODE}")
    home = _made("node", [HERE / name for name in _NODE_FILES], _make_node)
    shutil.copy(HERE / script, home / script)
    return [program, str(home / script)]


def _made(name: str, files: list[Path], make: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mainstay-benchmarks"
    home = cache / f"{name}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "installed").exists():
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            make(home)
            (home / "installed").touch()
    return home


def _make_python(home: Path, lock: str) -> None:
    _do([sys.executable, "-m", "venv", str(home)], home)
    install = ["install", "--quiet", "--no-input", "--require-hashes", "--only-binary", ":all:", "-r", str(HERE / lock)]
    _do([str(home / "bin" / "python"), "-m", "pip", *install], home)


def _make_node(home: Path) -> None:
    for name in _NODE_FILES:
        shutil.copy(HERE / name, home / name)
    _do(["npm", "ci", "--ignore-scripts"], home)


def _do(command: list[str], home: Path) -> None:
    done = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise Missing(f"{' '.join(command[:4])} failed: {done.stderr.strip()[-400:]}")
