"""Compares a job with what was sealed of it, and logs with what somebody has kept of them."""
