"""What doctor reports about the native extension."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from vaultstream.crypto import multibuffer
from vaultstream.doctor.findings import Level
from vaultstream.doctor.signing import examine_signing
from vaultstream.settings import MULTIBUFFER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultstream.crypto.multibuffer import Multibuffer

EXTENSION = "vaultstream.crypto._multibuffer"
pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def decided_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process decides once; here each test does."""
    monkeypatch.delenv(MULTIBUFFER, raising=False)
    multibuffer._decide.cache_clear()
    yield
    multibuffer._decide.cache_clear()


def test_the_extension_is_named_where_it_signs(native: Multibuffer) -> None:
    finding = examine_signing()
    assert finding.level is Level.OK
    assert native.version() in finding.message
    assert "ECDSA_P256_SHA256" in finding.message
    assert "RSA" not in finding.message


def test_that_it_is_switched_off_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MULTIBUFFER, "off")
    finding = examine_signing()
    assert finding.level is Level.OK
    assert finding.message.endswith("VAULTSTREAM_MULTIBUFFER is off.")


def test_that_it_is_not_built_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, EXTENSION, None)
    finding = examine_signing()
    assert finding.level is Level.OK
    assert finding.message.endswith("The native extension is not built.")


def test_one_that_signs_wrongly_is_not_used_and_doctor_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = SimpleNamespace(applicable=lambda: True, known_answer=lambda *_: b"\x30\x00")
    monkeypatch.setitem(sys.modules, EXTENSION, wrong)
    finding = examine_signing()
    assert multibuffer.multibuffer() is None
    assert finding.level is Level.WARNING
    assert "self-test" in finding.message
    assert finding.hint
