"""What an auditor does with a job: verify all of it, export its signatures, extract one to check by hand."""
