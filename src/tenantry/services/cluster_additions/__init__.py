"""Adding shared clusters to the fleet of this machine."""
