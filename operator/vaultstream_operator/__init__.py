"""The operator: creates a SigningJob's workers and scales its signers with the lag."""
