"""Decides: plan, replicas, children, report. Pure functions: no I/O, no clock, no randomness; every input is an argument."""
