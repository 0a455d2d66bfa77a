"""Offers the checkpoints of a log to its witnesses, and keeps their cosignatures."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from vaultstream.errors import ServiceError, UsageError, WitnessError
from vaultstream.proof.cosignature import CosignerKey
from vaultstream.proof.witness import Behind, WitnessRefusal, add_checkpoint_body, behind_error, read_answer
from vaultstream.sealing.posting import Address, post

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from vaultstream.proof.checkpoint import SignedCheckpoint

_SEPARATOR = re.compile(r"[,\n]")
_TEXT = "text/plain; charset=utf-8"
OFFER_SECONDS = 10.0
"""How long one witness is waited for, however often it is asked."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness as it is configured."""

    key: CosignerKey
    submit: Address
    """Where checkpoints are sent."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `<verifier key> <prefix of the URL>`.

        Raises:
            UsageError: it is malformed, or the URL is not encrypted and leads to another machine.
            ProofError: the verifier key can't be used.
        """
        vkey, *rest = text.split()
        if len(rest) != 1:
            raise UsageError(
                "A witness must be written as its verifier key, a space and its URL.",
                hint="Write VAULTSTREAM_WITNESSES as NAME+ID+KEY https://HOST/PATH; several are separated by commas or lines.",
            )
        key, submit = CosignerKey.parse(vkey), Address(f"{rest[0].rstrip('/')}/add-checkpoint")
        if not submit.encrypted and not submit.local:
            raise UsageError(
                f"The URL of the witness {key.name!r} is not encrypted, and leads to another machine.",
                hint="Use https://. Only a witness on this machine can have http://.",
            )
        return cls(key, submit)


def parse_witnesses(text: str) -> tuple[Witness, ...]:
    """Reads witnesses, separated by commas or lines.

    Raises:
        UsageError: one is malformed, or two have the same key.
        ProofError: a verifier key can't be used.
    """
    witnesses = tuple(Witness.parse(part) for part in _SEPARATOR.split(text) if part.strip())
    if len({witness.key.public for witness in witnesses}) != len(witnesses):
        raise UsageError(
            "Two witnesses have the same key.", hint="Name each witness once: one key is one witness."
        )
    return witnesses


async def cosign(
    witness: Witness,
    signed: SignedCheckpoint,
    note: bytes,
    path: Callable[[int], Awaitable[Sequence[bytes]]],
    *,
    seen: int = 0,
) -> str:
    """Returns the line with a witness's cosignature for a checkpoint.

    Args:
        witness: who is asked.
        signed: the checkpoint.
        note: the same, as its log has signed it.
        path: returns the consistency path from the first leaves of the log, so many, to the checkpoint.
        seen: what the witness is believed to have seen of the log. If it has seen another size, it is asked once more.

    Raises:
        WitnessError: it has not cosigned it.
    """
    head = signed.checkpoint
    seen = min(seen, head.size)
    deadline = time.monotonic() + OFFER_SECONDS
    for _ in range(2):
        body = add_checkpoint_body(seen, await path(seen), note)
        try:
            reply = await post(witness.submit, body, _TEXT, seconds=max(0.0, deadline - time.monotonic()))
        except ServiceError as error:
            raise WitnessError(
                f"The witness {witness.key.name!r} has not been asked. {error.message}",
                WitnessRefusal.UNREACHABLE,
                hint="The checkpoint will be offered again.",
            ) from None
        answer = read_answer(witness.key, head, status=reply.status, kind=reply.kind, body=reply.body)
        if not isinstance(answer, Behind):
            return answer
        if answer.size > head.size:
            raise behind_error(witness.key, head.origin, seen=answer.size, size=head.size)
        seen = answer.size
    raise WitnessError(
        f"The witness {witness.key.name!r} has seen another size of the log {head.origin!r} each time.",
        WitnessRefusal.OTHER,
        hint="The checkpoint will be offered again.",
    )
