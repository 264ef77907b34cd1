"""Key-value buckets, object stores, and what no stream keeps, on a real server."""
