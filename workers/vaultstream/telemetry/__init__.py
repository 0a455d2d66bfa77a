"""Metrics and health of a worker, served by a thread of its own.

Nothing here knows Postgres or NATS: who works tells what happened, and a thread of its own answers those who ask.
"""
