"""Define what every store of recordings offers: the protocols, their types, the URLs and what all stores share.

The two stores are `sqlite` and `valkey`; they do not know each other. `open` opens a store from its URL. `scan` reads
recordings, in stores and archives alike.
"""

from cortex_jupyter.store.protocol import (
    HEARTBEAT_S,
    READER_HINT,
    REQUEST_S,
    LeaseStore,
    Readable,
    RetentionStore,
    SettingsStore,
    Store,
    UserStore,
    other_name,
)
from cortex_jupyter.store.types import (
    NEWER_FIELDS,
    Anchor,
    Commit,
    Completeness,
    HealthWarning,
    Lease,
    RecorderInfo,
    RecordingInfo,
    RecordingRequest,
    RecordingUsage,
    as_epochs,
)
from cortex_jupyter.store.url import (
    absolute_archive,
    data_folder,
    default_url,
    is_shared,
    is_store,
    path_of,
    url_of,
    usual_path,
)

__all__ = [
    "HEARTBEAT_S",
    "NEWER_FIELDS",
    "READER_HINT",
    "REQUEST_S",
    "Anchor",
    "Commit",
    "Completeness",
    "HealthWarning",
    "Lease",
    "LeaseStore",
    "Readable",
    "RecorderInfo",
    "RecordingInfo",
    "RecordingRequest",
    "RecordingUsage",
    "RetentionStore",
    "SettingsStore",
    "Store",
    "UserStore",
    "absolute_archive",
    "as_epochs",
    "data_folder",
    "default_url",
    "is_shared",
    "is_store",
    "other_name",
    "path_of",
    "url_of",
    "usual_path",
]
