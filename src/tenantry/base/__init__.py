"""Values only, no I/O: errors, identifiers, settings, secrets, events."""
