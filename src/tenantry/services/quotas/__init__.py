"""Disk quotas: measuring what databases take, and holding them to what they may."""
