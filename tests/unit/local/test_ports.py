"""Ports of the servers on this machine."""

import socket
from pathlib import Path

import pytest

from vaultstream.local.ports import HOST, choose_port, ports_for_servers


def test_a_free_port_is_kept_and_a_taken_one_is_not() -> None:
    port = choose_port()
    with socket.create_server((HOST, port)):
        assert choose_port(port) != port
    assert choose_port(port) == port


def test_a_port_is_never_one_that_a_client_may_get() -> None:
    lowest, highest = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    chosen = {choose_port() for _ in range(20)}
    assert bool(ports_for_servers(lowest, highest)) != any(lowest <= port <= highest for port in chosen)
    assert len(chosen) > 10  # two data directories that start at once rarely meet


def test_a_client_can_take_the_port_of_a_server_that_is_down_by_reaching_itself() -> None:
    with socket.socket() as client:
        client.bind((HOST, 0))  # a port of the ephemeral range
        port = client.getsockname()[1]
        client.connect((HOST, port))
        assert choose_port(port) != port


@pytest.mark.parametrize(
    ("ephemeral", "left"),
    [
        ((32_768, 60_999), range(10_000, 32_768)),
        ((9_000, 60_999), range(61_000, 65_536)),
        ((1_024, 65_535), range(0)),
    ],
)
def test_ports_below_the_ephemeral_range_are_used_else_those_above(
    ephemeral: tuple[int, int], left: range
) -> None:
    assert ports_for_servers(*ephemeral) == left
