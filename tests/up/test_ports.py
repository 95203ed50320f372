"""Ports: a busy one is named with its holder, a free one is found."""

import os
import socket
from collections.abc import Iterator

import pytest

from mainstay.cli.places import UpRefused
from mainstay.cli.ports import choose_port, find_listener, free_port, why_not


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_free_port_is_taken_without_a_word() -> None:
    port = free_port()
    assert choose_port(port, "127.0.0.1", usual=1) == (port, None)
    assert choose_port(None, "127.0.0.1", usual=port) == (port, None)


def test_the_next_free_one_replaces_the_usual_one(busy: int) -> None:
    port, remark = choose_port(None, "127.0.0.1", usual=busy)
    assert busy < port < busy + 100
    assert remark == f"port {busy} is busy ({find_listener(busy)} listens on it): using port {port}"


def test_a_wanted_one_is_not_replaced(busy: int) -> None:
    with pytest.raises(UpRefused, match=f"port {busy} is busy .*choose another with --port"):
        choose_port(busy, "127.0.0.1", usual=1)


@pytest.mark.skipif(not os.path.exists("/proc/net/tcp"), reason="only Linux tells who listens")
def test_the_holder_is_found(busy: int) -> None:
    assert find_listener(busy) is not None
    assert str(find_listener(busy)).endswith(f"process {os.getpid()}")
    assert find_listener(free_port()) is None


def test_an_address_of_somebody_else_is_refused() -> None:
    with pytest.raises(UpRefused, match=r"192\.0\.2\.1 is no address of this machine"):
        why_not(free_port(), "192.0.2.1")
    with pytest.raises(UpRefused, match=r"no-such-host\.invalid is no address of this machine"):
        why_not(free_port(), "no-such-host.invalid")


def test_a_remembered_port_is_kept_while_it_is_free(busy: int) -> None:
    remembered = free_port()
    assert free_port(remembered) == remembered
    assert free_port(busy) != busy
