"""All that knows nats-py and the JetStream protocol."""
