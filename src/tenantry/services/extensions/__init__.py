"""Extensions: list those of a database, add and remove them."""
