"""What a lab has beneath it: its loop thread, connection and queries."""
