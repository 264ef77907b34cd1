"""Jupyter widgets over varco_nats."""
