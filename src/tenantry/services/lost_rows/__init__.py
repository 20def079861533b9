"""Lost rows: a database as it was, looked at, compared with now, and brought back in part."""
