"""What the API server says of a task besides its lines: its objects, its pods, its events."""
