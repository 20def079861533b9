"""The edge: host names and HTTPS in front of the API, the console, the data API and the cache."""
