"""Disk that a tenant writes and no quota counts: measured, attributed, and limited."""
