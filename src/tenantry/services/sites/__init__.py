"""Sites of the AI cache: a Redis process for each, and what the cache service reads of them."""
