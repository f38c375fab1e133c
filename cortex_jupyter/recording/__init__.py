"""From the API to a durable sequence: the recorder (its own process), the stores, the readers."""
