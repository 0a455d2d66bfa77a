"""Records: where they are, how they are cut into batches, and the worker that publishes those."""
