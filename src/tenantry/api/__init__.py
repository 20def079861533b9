"""The REST API: validates requests, calls one service, and answers in one envelope."""
