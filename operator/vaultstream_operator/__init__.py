"""The operator: brings up a SigningJob's workers and has its signers follow the lag."""
