"""The command-line interface: a client of the REST API, and commands for this machine itself."""
