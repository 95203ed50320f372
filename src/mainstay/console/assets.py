"""What pages bring along, under names that change with their content, so that browsers may keep it for ever."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

PREFIX = "/console/static/"
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_HASH_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is served."""

    address: str
    content: bytes
    media_type: str


class Assets:
    """Every file of `static/`, read once."""

    def __init__(self) -> None:
        self._by_name = {
            path.name: _asset(path) for path in (Path(__file__).parent / "static").iterdir() if path.suffix in _KINDS
        }
        self._by_address = {asset.address: asset for asset in self._by_name.values()}

    def address(self, name: str) -> str:
        """Where a page finds the file; KeyError for a file that is not there."""
        return self._by_name[name].address

    def find(self, address: str) -> Asset | None:
        """The file served under that address, or None."""
        return self._by_address.get(address)


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:_HASH_CHARACTERS]
    return Asset(f"{PREFIX}{path.stem}.{digest}{path.suffix}", content, _KINDS[path.suffix])
