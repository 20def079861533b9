"""What there is to observe: metrics that capabilities measure, and events that are counted."""
