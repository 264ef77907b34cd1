"""What a dead letter queue holds: read once, followed, filtered, grouped, and made a frame of."""
