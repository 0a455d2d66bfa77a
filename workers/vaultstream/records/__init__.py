"""The records worker: cuts a table into batches and publishes them."""
