"""Measures a whole job against what the processor could sign if it did nothing else."""
