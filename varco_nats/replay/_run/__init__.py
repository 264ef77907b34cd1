"""What a run of a replay does, from the claim of its entries to the outcome in the log."""
