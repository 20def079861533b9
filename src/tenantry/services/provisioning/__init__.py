"""The life cycle of a database as its owner sees it: created with contents, changed, deleted."""
