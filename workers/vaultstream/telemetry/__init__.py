"""Metrics and health of a worker, served by a separate thread.

Nothing here uses Postgres or NATS: the worker reports what happened, and the thread answers probes and scrapes.
"""
