"""Network: one allowlist for each database, the same at every door."""
