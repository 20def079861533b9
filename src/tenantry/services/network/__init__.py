"""Network: one allowlist for each database, in force at every endpoint."""
