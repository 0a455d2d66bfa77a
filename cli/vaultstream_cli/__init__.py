"""The `vaultstream` command: reads options, calls the engine, prints."""
