"""The version of VaultStream."""

__version__ = "0.1.0"
