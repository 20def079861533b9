"""Extensions: which a database has, and having one more or one less."""
