"""Signatures, the wrapping of private keys, and the key-encryption keys. No I/O but the key-encryption key's file."""
