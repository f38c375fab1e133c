"""Kubernetes and nothing else: session, tasks, watch, log streams."""
