"""Seals jobs: enters what was planned and signed in logs, and signs their checkpoints with the seal key."""
