"""Where a collector's archive goes: the endpoint that the environment says when its objects are printed.

Credentials are not taken from there: they come from a Secret of their own, whose keys are the variables' names.
"""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import urlsplit

#: As obstore takes them; see `archive.access`.
_ENDPOINTS: Final = (
    "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"
)  # fmt: skip


def endpoint_ports() -> list[int]:
    """Give the ports of the endpoints that are named, and of an archive that is one itself (`http://host:9000/logs`)."""
    urls = [value for name in (*_ENDPOINTS, "CORTEX_ARCHIVE") if (value := os.environ.get(name))]
    parts = [part for part in map(urlsplit, urls) if part.scheme in ("http", "https")]
    return [part.port or (443 if part.scheme == "https" else 80) for part in parts]
