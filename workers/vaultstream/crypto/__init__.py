"""Signatures, wrapped private keys, and the key-encryption keys. It reads and writes one file, that of the key-encryption keys."""
