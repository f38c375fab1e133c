"""What a log means: why a task failed, its errors, patterns, metrics, progress, and what changed between two of them."""
