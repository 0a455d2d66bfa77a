"""The documented values of NATS's chart give settings that nats-server accepts, and that do what docs/production.md says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kube.certificates import Authority
from support.chart import ROOT
from support.nats_cluster import (
    ADMIN,
    chart_configuration,
    check,
    documented_values,
    install,
    mounts,
    written,
)
from vaultstream.bus.permissions import BusRole

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


def mounted(folder: Path) -> dict[str, str | Path]:
    return mounts(Authority(folder / "authority"), dict.fromkeys((*BusRole, ADMIN), "secret"))


def test_nats_server_accepts_the_settings_of_each_server(tmp_path: Path) -> None:
    files = mounted(tmp_path)
    for server in range(3):
        home = tmp_path / f"nats-{server}"
        install(home, chart_configuration(documented_values(), server), files)
        assert check(home) == ""


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("merge", "$include"), "/etc/nats-users/users.conf", "no such file"),
        (("jetstream", "merge", "sync_interval"), "sometimes", "sync_interval"),
        (("cluster", "tls", "merge", "verify"), "yes, please", "verify"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, place: tuple[str, ...], value: str, said: str) -> None:
    values = documented_values()
    within: dict[str, Any] = values["config"]
    for name in place[:-1]:
        within = within[name]
    within[place[-1]] = value
    install(tmp_path / "nats-0", chart_configuration(values, 0), mounted(tmp_path))
    assert said in check(tmp_path / "nats-0")


def test_it_is_a_cluster_of_three_with_tls_everywhere_and_synchronous_writes() -> None:
    settings = chart_configuration(documented_values(), 1)
    assert len(settings["cluster"]["routes"]) == 3
    assert all(route.startswith("tls://") for route in settings["cluster"]["routes"])
    assert settings["cluster"]["tls"]["verify"] is True
    assert settings["tls"]["cert_file"] == "/etc/nats-certs/nats/tls.crt"
    assert settings["jetstream"]["sync_interval"] == "always"
    assert "include ../nats-users/users.conf;" in written(settings)


def test_the_workers_request_as_many_replicas_as_there_are_servers() -> None:
    ours = yaml.safe_load((ROOT / "examples/production/vaultstream-values.yaml").read_text())
    assert ours["external"]["natsReplicas"] == documented_values()["config"]["cluster"]["replicas"]
