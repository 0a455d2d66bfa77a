"""The SigningJob as Kubernetes knows it: its status, its conditions, the words for why, and its definition."""
