"""The door for people in a terminal. It talks to the REST API, and to nothing else."""
