"""The mission control layer: work that is queued, done in order of priority, and reported."""
