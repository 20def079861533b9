"""Which questions are the same, and which are not: for the clients, and for the platform's cache.

Pure. The platform imports these modules, so that a question has one answer wherever it is asked.
"""
