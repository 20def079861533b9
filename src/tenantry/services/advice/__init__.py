"""Advice: what is wrong with a database, why, and the statement that helps."""
