"""The batches of a plan, which a seal states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vaultstream.proof.canonical import canonical_text


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatch:
    """A batch as it was cut from the source."""

    number: int
    first_id: str
    last_id: str
    records: int
    ids: Sequence[str] | None = None
    """None: every integer from the first id to the last."""

    @property
    def line(self) -> str:
        """What `ranges_digest` is over."""
        if self.ids is None and _is_plain(self.first_id) and _is_plain(self.last_id):
            return f'[{self.number:d},"{self.first_id}","{self.last_id}",{self.records:d}]'
        ids = [list(self.ids)] if self.ids is not None else []
        return canonical_text([self.number, self.first_id, self.last_id, self.records, *ids])


def _is_plain(integer: str) -> bool:
    """Whether a text is canonical JSON once it is in quotes. The encoder takes ten times as long to find out."""
    return integer.isascii() and integer.removeprefix("-").isdigit()
