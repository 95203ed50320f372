"""A served API of the test's own, for commands that speak HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import SECRETS, Running, running
from tests.tenancy import Tenancy


@pytest.fixture
def served(fresh_url: str, tmp_path: Path) -> Iterator[Running]:
    """`mainstay api` on a free port and a database of the test's own."""
    with running("api", "--port", "0", env={**SECRETS, "DATABASE_URL": fresh_url}, log=tmp_path / "api.log") as api:
        yield api


@pytest.fixture
def client_env(served: Running, tenancy: Tenancy) -> dict[str, str]:
    """What a client of that API has in its environment."""
    return {"MAINSTAY_URL": served.url, "MAINSTAY_KEY": tenancy.key}
