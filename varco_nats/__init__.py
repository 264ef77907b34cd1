"""NATS JetStream backend for varco."""
