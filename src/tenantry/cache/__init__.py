"""The entry point of the AI cache: one process for all sites."""
