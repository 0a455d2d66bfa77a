"""The `vaultstream` command."""
