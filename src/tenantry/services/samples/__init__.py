"""Samples of what each database does, their history, and series of them."""
