"""Messages that are ignored, and what the log has of them: whoever publishes many fills no log."""

from __future__ import annotations

import logging

from vaultstream.errors import shortened

log = logging.getLogger(__name__)


class IgnoredMessages:
    """Counts the messages that a reader ignores, and logs the first, the second, the fourth, the eighth and so on."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, subject: str, why: str) -> None:
        """Counts a message. `why` is of bounded length."""
        self._count += 1
        if self._count & (self._count - 1) == 0:
            extra = {"ignored": self._count}
            log.warning("a message on %s is ignored: %s", shortened(subject), why, extra=extra)
