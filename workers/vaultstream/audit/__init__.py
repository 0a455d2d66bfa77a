"""Verifies a whole job, exports its signatures, extracts one to check by hand."""
