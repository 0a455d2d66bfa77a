"""A model of a job, its signers and their cluster, driven by the real scaling decision. Pure: no I/O, no clock, seeded randomness."""
