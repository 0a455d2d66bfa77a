"""An invalid setting is reported in words of its user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vaultstream.errors import UsageError
from vaultstream.settings import Settings, kek_file, load_settings, seal_key_file, seals_dir

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("BATCH_SIZE", "abc", "BATCH_SIZE must be a whole number from 1 to 20000, not 'abc'."),
        ("TOTAL_RECORDS", "1e5", "TOTAL_RECORDS must be a whole number, at least 0, not '1e5'."),
        ("MAX_SIGNERS", "-1", "MAX_SIGNERS must be a whole number from 1 to 256, not '-1'."),
        (
            "VAULTSTREAM_LEASE_SECONDS",
            "x",
            "VAULTSTREAM_LEASE_SECONDS must be a number from 0.5 to 3600, not 'x'.",
        ),
        ("VAULTSTREAM_NATS_REPLICAS", "two", "VAULTSTREAM_NATS_REPLICAS must be 1, 3 or 5, not 'two'."),
        ("VAULTSTREAM_LOG_FORMAT", "xml", "VAULTSTREAM_LOG_FORMAT must be auto, json or text, not 'xml'."),
    ],
)
def test_an_error_says_what_the_setting_must_be(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as raised:
        load_settings()
    assert raised.value.message == message


@pytest.mark.parametrize("name", [str(field.alias) for field in Settings.model_fields.values()])
def test_no_error_has_words_of_the_library(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "no\x1bsuch value")
    try:
        load_settings()
    except UsageError as error:
        told = error.message
    else:
        return  # a setting that may be any text
    assert "Input" not in told
    assert "parse" not in told
    assert told.startswith(name)


def test_keys_and_seals_belong_in_the_data_directory_as_all_else_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for given in ("~/vs", "vs", "../" + tmp_path.name + "/vs"):
        settings = load_settings(data_dir=given)
        assert kek_file(settings) == tmp_path / "vs" / "kek"
        assert seal_key_file(settings) == tmp_path / "vs" / "seal-key"
        assert seals_dir(settings) == tmp_path / "vs" / "seals"
