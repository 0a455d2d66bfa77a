"""Keys: made and wrapped by the keys worker, unwrapped only by the signers."""
