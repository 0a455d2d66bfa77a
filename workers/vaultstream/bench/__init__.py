"""Benchmarks: a whole job run and measured against what the processor could sign if it did nothing else."""
