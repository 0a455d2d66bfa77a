"""The keys worker: creates and wraps keys. Only signers unwrap them, with the custody that is here too."""
