"""The Jupyter Server extension: REST and SSE below `{base_url}cortex/` (DESIGN section 4)."""
