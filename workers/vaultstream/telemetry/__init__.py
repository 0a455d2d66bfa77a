"""Telemetry: what a worker counts and how it is, served beside its work.

Nothing here knows Postgres or NATS: who works tells what happened, and a thread of its own answers those who ask.
"""
