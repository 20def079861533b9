"""The REST API: the door for programs. It validates, asks a service, and answers in one shape."""
