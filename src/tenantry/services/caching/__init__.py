"""Answers that were paid for, given again: the cache of a site, and the proxy in front of it."""
