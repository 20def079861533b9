"""Backups of sites of the AI cache in the platform's repositories, and restores from them."""
