"""What the AI cache answers, takes and saves: counted, valued and reported."""
