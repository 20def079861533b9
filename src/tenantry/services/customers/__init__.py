"""The customers, whose databases, users and keys are elsewhere."""
