"""Restores of whole clusters from their repository, in place of the cluster in service."""
