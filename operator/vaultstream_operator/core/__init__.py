"""Decisions as pure functions: no I/O, no clock, no randomness; all that they go by is passed in."""
