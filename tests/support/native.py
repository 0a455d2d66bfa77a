"""The native extension: the one place that says when its tests are skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def verified(
    native: Multibuffer,
    points: Sequence[bytes],
    counts: Sequence[int],
    digests: Sequence[bytes],
    signatures: Sequence[bytes],
) -> bytes:
    """Verifies as the library does, and with tables, for which each signature comes as often as it takes to make one.

    A table may miss a valid signature of a key or a number that was chosen for it; it may accept none that the library refuses.
    """
    times = native.table_least
    answers = native.verify(points, counts, digests, signatures)
    repeated = [count * times for count in counts]
    many = native.verify(
        points,
        repeated,
        [digest for digest in digests for _ in range(times)],
        [signature for signature in signatures for _ in range(times)],
    )
    each = many[::times]
    assert many == bytes(answer for answer in each for _ in range(times))
    assert all(of_table <= answer for of_table, answer in zip(each, answers, strict=True))
    return answers
