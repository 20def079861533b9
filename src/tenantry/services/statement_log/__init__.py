"""The log of the statements in a database, for its owner: settings, entries, collection."""
