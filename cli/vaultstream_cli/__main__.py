"""`python -m vaultstream_cli` is the `vaultstream` command."""

from vaultstream_cli.main import main

main()
