"""The process that embeds questions for the sites of the AI cache."""
