"""What dead letters look like in a notebook, and what happens there by hand."""
