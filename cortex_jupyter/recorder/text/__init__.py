"""From the bytes of a container's log to lines, and which of them are recorded already."""
