"""A server's ports are free when they are chosen, its own, and kept."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from kube import ports

pytestmark = pytest.mark.unit

HOST = "127.0.0.1"


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(HOST, port)
    assert ports.is_free(HOST, port)


def test_chosen_ports_are_free_and_all_different() -> None:
    names = [str(number) for number in range(50)]
    chosen = ports.choose(HOST, names)
    assert list(chosen) == names
    assert len(set(chosen.values())) == len(names)
    assert all(ports.is_free(HOST, port) for port in chosen.values())


def test_no_port_is_chosen_that_an_outgoing_connection_could_be_given() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(ports.choose(HOST, ["api"]).values()) < lowest


def test_taken_ports_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_HIGHEST", ports._LOWEST + 2)
    free = [port for port in (ports._LOWEST, ports._LOWEST + 1) if ports.is_free(HOST, port)]
    assert ports.choose(HOST, ["api"], taken=free[:-1]) == {"api": free[-1]}


def test_kept_ports_are_read_again(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    assert ports.read(file) == {}
    ports.keep(file, {"api": 20_443})
    assert ports.read(file) == {"api": 20_443}
