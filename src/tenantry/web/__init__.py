"""The web console: pages over the same verbs as the API's, at ``/`` of its port."""
