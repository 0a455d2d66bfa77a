"""`.env.sample` lists the settings, and changes none."""

from pathlib import Path

import pytest
from dotenv import dotenv_values

from vaultstream.env_file import read_env_file
from vaultstream.settings import Settings, load_settings

pytestmark = pytest.mark.unit

SAMPLE = Path(__file__).parents[2] / ".env.sample"
DEFAULTS = {field.alias: field.default for field in Settings.model_fields.values()}


def test_each_name_in_the_sample_is_a_setting() -> None:
    assert set(dotenv_values(SAMPLE)) <= set(DEFAULTS)


def test_the_sample_has_what_people_are_told_to_set() -> None:
    promised = {
        "BATCH_SIZE",
        "TOTAL_RECORDS",
        "TOTAL_KEYS",
        "MAX_SIGNERS",
        "DATABASE_URL",
        "VAULTSTREAM_NATS_URL",
    }
    assert promised <= set(dotenv_values(SAMPLE))


def test_each_value_in_the_sample_is_the_default() -> None:
    given = {name: value for name, value in dotenv_values(SAMPLE).items() if value}
    assert given == {name: str(DEFAULTS[name]) for name in given}


def test_the_sample_copied_to_env_changes_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEFAULTS:
        monkeypatch.delenv(str(name), raising=False)
    assert load_settings(read_env_file(SAMPLE)).model_dump() == load_settings().model_dump()
