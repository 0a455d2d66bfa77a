"""The operator's settings: read from its environment, and refused with the variable's name."""

from __future__ import annotations

import pytest

from vaultstream.errors import UsageError
from vaultstream_operator.core.pods import OWN_VARIABLES
from vaultstream_operator.settings import load_operator_settings

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret-word@db/d")
    monkeypatch.setenv("VAULTSTREAM_NATS_URL", "tls://nats")


def test_the_variables_of_the_chart_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "SECRET_PREFIX": "shop",
        "CA_SECRET": "shop-ca",
        "EXTRA_ENV": '{"VAULTSTREAM_LEASE_SECONDS": "20"}',
        "IMAGE_PULL_SECRETS": "one, two,",
        "LOG_LEVEL": "debug",
        "ALLOWED_POD_LABELS": "team,example.com/*",
    }
    for name, value in given.items():
        monkeypatch.setenv(f"VAULTSTREAM_WORKER_{name}", value)
    monkeypatch.setenv("VAULTSTREAM_NATS_CA_FILE", "/ca.crt")
    settings = load_operator_settings()
    worker = settings.worker
    assert (worker.secret_prefix, worker.ca_secret, worker.log_level) == ("shop", "shop-ca", "debug")
    assert worker.extra_env == {"VAULTSTREAM_LEASE_SECONDS": "20"}
    assert worker.image_pull_secrets == ("one", "two")
    assert worker.allowed_pod_labels == ("team", "example.com/*")
    assert str(settings.nats_ca_file) == "/ca.crt"


def test_empty_values_count_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_operator_settings()
    for name in ("CA_SECRET", "EXTRA_ENV", "IMAGE_PULL_SECRETS", "LOG_LEVEL", "ALLOWED_TOLERATIONS"):
        monkeypatch.setenv(f"VAULTSTREAM_WORKER_{name}", "")
    assert load_operator_settings() == before


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("EXTRA_ENV", "A=b", "VAULTSTREAM_WORKER_EXTRA_ENV"),
        ("EXTRA_ENV", '{"A": 1}', "VAULTSTREAM_WORKER_EXTRA_ENV"),
        ("EXTRA_ENV", '{"no name": "x"}', "'no name'"),
        ("LOG_LEVEL", "loud", "VAULTSTREAM_WORKER_LOG_LEVEL"),
        ("METRICS_PORT", "0", "VAULTSTREAM_WORKER_METRICS_PORT"),
        ("GRACE_SECONDS", "12", "VAULTSTREAM_WORKER_GRACE_SECONDS must be at least 15"),
    ],
)
def test_an_invalid_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, named: str
) -> None:
    monkeypatch.setenv(f"VAULTSTREAM_WORKER_{name}", value)
    with pytest.raises(UsageError) as refused:
        load_operator_settings()
    assert named in refused.value.message
    assert "secret-word" not in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize("variable", sorted(OWN_VARIABLES))
def test_no_extra_variable_takes_the_place_of_ours(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv("VAULTSTREAM_WORKER_EXTRA_ENV", f'{{"{variable}": "x"}}')
    with pytest.raises(UsageError, match=variable):
        load_operator_settings()
