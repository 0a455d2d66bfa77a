"""NATS JetStream, the dispatcher. Nothing in it is authority: all of it can be made again from Postgres."""
