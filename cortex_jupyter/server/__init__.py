"""The Jupyter Server extension: JSON and event streams below `{base_url}cortex/` (docs/reference/http.md)."""
