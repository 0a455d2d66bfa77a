"""Kubernetes, Postgres and JetStream, behind the ports of the operator."""
