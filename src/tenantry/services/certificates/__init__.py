"""The certificate of every TLS endpoint: issue, renew, install, revoke."""
