"""The certificate that every TLS door shows: had, renewed, put in service, revoked."""
