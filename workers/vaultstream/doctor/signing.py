"""Reports what signs on this machine: the native extension or `cryptography`."""

from __future__ import annotations

from vaultstream.api import Algorithm
from vaultstream.crypto.batch_signer import batch_signer
from vaultstream.crypto.multibuffer import is_faulty, multibuffer, why_not
from vaultstream.crypto.multibuffer_signer import MultibufferSigner
from vaultstream.doctor.findings import Finding, ok, warning

_CHECK = "signing"


def examine_signing() -> Finding:
    """Reports whether the native extension is used, and why not; it is no fault unless it was built and does not work."""
    native = multibuffer()
    if native is not None:
        theirs = [str(each) for each in Algorithm if batch_signer(each).path == MultibufferSigner.path]
        return ok(
            _CHECK,
            f"On this machine the native extension (crypto_mb {native.version()}) signs eight records at a time with "
            f"{' and '.join(theirs)}.",
        )
    without = f"cryptography makes all signatures on this machine, one at a time. {why_not()}"
    if is_faulty():
        return warning(_CHECK, without, "`make native` builds it again. Until it works, jobs are slower.")
    return ok(_CHECK, without)
