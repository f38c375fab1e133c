"""Analyse a log: why a task failed, its errors, patterns, metrics, progress, and what changed between two logs."""
