"""What the operator talks to: Kubernetes, Postgres, JetStream, and a pool on this machine."""
