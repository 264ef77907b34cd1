"""Changes fields of many events at once: what is asked for, what becomes of each, the sum of it."""
