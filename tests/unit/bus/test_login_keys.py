"""A key that NATS is to be given and that is none is refused with the setting that names its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import connect_bus
from vaultstream.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("kind", ["creds", "nkey"])
async def test_a_file_without_a_key_is_refused_by_its_setting_before_anything_is_sent(
    tmp_path: Path, kind: str
) -> None:
    (tmp_path / "file").write_text("junk")
    address = BusAddress("nats://127.0.0.1:1", "", "", **{f"{kind}_file": tmp_path / "file"})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"VAULTSTREAM_NATS_{kind.upper()}_FILE") as caught:
        async with connect_bus(address, role="command", attempts=1):
            pass
    assert caught.value.field == f"VAULTSTREAM_NATS_{kind.upper()}_FILE"
    assert "junk" not in str(caught.value)
