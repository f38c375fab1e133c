"""Parse the bytes of a container's log, and find which of its lines are recorded already."""
