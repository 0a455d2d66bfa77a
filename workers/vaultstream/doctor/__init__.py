"""Checks the machine, services, streams, leases and keys, and reports findings: `vaultstream doctor`."""
