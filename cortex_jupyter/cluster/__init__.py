"""Kubernetes and nothing else: session, discovery, workloads, pods, watch, log streams, rotated files, access reviews."""
