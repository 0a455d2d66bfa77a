"""Decides how many signers a job needs. Pure functions: no I/O, no clock, no randomness; every input is an argument."""
