"""The native extension: the one place that says when its tests are skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vaultstream.crypto.multibuffer import Multibuffer


@pytest.fixture(scope="session", name="native")
def the_extension() -> Multibuffer:
    """The extension itself, used or not: a failed self-test skips nothing."""
    missing = "the native extension is not built: `make native` says why"
    module = pytest.importorskip(
        "vaultstream.crypto._multibuffer", reason=missing, exc_type=ModuleNotFoundError
    )
    if not module.applicable():
        pytest.skip("this processor has no AVX-512 IFMA")
    return module  # type: ignore[no-any-return]


def rows_of(packed: bytes, width: int) -> list[tuple[bytes, bytes]]:
    """Returns digest and signature of each row, whose rest must be zeros."""
    rows = []
    assert len(packed) % width == 0
    for start in range(0, len(packed), width):
        end = start + 34 + int.from_bytes(packed[start + 32 : start + 34])
        assert not packed[end : start + width].strip(b"\0")
        rows.append((packed[start : start + 32], packed[start + 34 : end]))
    return rows
