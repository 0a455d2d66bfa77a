"""Why a record goes to the dead letters: a reason for programs, a sentence for people."""

from __future__ import annotations

from vaultstream.canonical import MAX_LEVELS

RECORD_GONE = "RecordGone"
PAYLOAD_NULL = "PayloadNull"
PAYLOAD_NOT_CANONICAL = "PayloadNotCanonical"
PAYLOAD_TOO_LARGE = "PayloadTooLarge"
PAYLOAD_RESERVED = "PayloadReserved"
PAYLOAD_IS_TOKEN = "PayloadIsToken"  # noqa: S105 - a reason
ID_NOT_UNIQUE = "IdNotUnique"
UNSIGNABLE = "Unsignable"
"""Its batch failed on every attempt, after splitting down to this record; see `functions/count_attempt.sql`."""
SIGNER_LOST = "SignerLost"
"""Signers were lost while they signed this record and nothing else; see `functions/expire_leases.sql`."""

SENTENCES = {
    RECORD_GONE: "The row was deleted between being counted into the job and being read.",
    PAYLOAD_NULL: "The payload is NULL.",
    PAYLOAD_NOT_CANONICAL: "A value in spec.records.payloadColumns has no canonical JSON form: NaN, an infinity, an integer beyond 2^53, "
    f"a date outside of the years 1 to 9999, the time 24:00, or JSON with a member twice, half of a surrogate pair or more than {MAX_LEVELS} levels.",
    PAYLOAD_TOO_LARGE: "The payload has {size} bytes; spec.records.maxPayloadBytes allows {limit}.",
    PAYLOAD_RESERVED: "The payload begins like a statement of VaultStream, which a key signs only for itself.",
    PAYLOAD_IS_TOKEN: "The payload is the signing input of a token or a DSSE envelope; spec.signature.refuseTokens refuses it.",
    ID_NOT_UNIQUE: "More than one row has this id now.",
}
