"""Side instances: a cluster as it was at a moment, in files of its own, for one operation."""
