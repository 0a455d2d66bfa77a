"""NATS JetStream, the dispatcher: everything in it can be rebuilt from Postgres."""
