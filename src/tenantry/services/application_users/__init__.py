"""The users of tenants' applications: sign-up, sign-in, and their sessions."""
