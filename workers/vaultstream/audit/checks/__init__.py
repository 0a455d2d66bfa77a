"""Compares what a job's batches, signatures, statements and keys are with each other, and with the source."""
