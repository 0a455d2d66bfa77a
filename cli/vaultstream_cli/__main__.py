"""`python -m vaultstream_cli`, as the pool starts its workers."""

from vaultstream_cli.main import main

main()
