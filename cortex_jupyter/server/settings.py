"""The settings of the extension, as traits of `c.CortexJupyter`. Its limits are in `limits.py`."""

from __future__ import annotations

import os

from traitlets import Bool, Dict, Enum, Float, List, Unicode, Union

from cortex_jupyter.server.limits import Limits


def _text(help_text: str) -> Unicode:
    """Return a setting whose default is the empty text."""
    return Unicode("", help=help_text).tag(config=True)


class Settings(Limits):
    """The settings of one server."""

    store_url = _text(
        "The store of the recordings: sqlite:///absolute/path or valkey://host. Default: CORTEX_STORE, else a file in the user's data directory."
    )
    store_max_bytes = _text(
        "Maximum size of all recordings, such as 50GB. Above it, completed recordings leave, those that ended first. Default: CORTEX_STORE_MAX_BYTES, else 20 GiB or a tenth of the disk, whichever is less."
    )
    store_max_age = _text(
        "How long a recording is kept after its task has ended, such as 7d. Default: CORTEX_STORE_MAX_AGE, else 30d."
    )
    store_max_task_bytes = _text(
        "Maximum size of the recording of a running task, such as 2GB. Above it, its oldest lines leave, and a gap notice says so. Default: CORTEX_STORE_MAX_TASK_BYTES, else no limit."
    )
    archive_url = _text(
        "The archive, to which completed recordings are written as Parquet: a folder, s3://, gs:// or az://. Recordings leave the store only after they are archived. Default: CORTEX_ARCHIVE."
    )
    mask = Bool(
        None,
        allow_none=True,
        help="Mask tokens, keys, passwords and e-mail addresses before lines are stored. It applies to all users of the store; for a shared store use `cortex-jupyter store set mask=on`. Default: CORTEX_MASK, else the store's present setting.",
    ).tag(config=True)
    kubeconfig = _text("Path of a kubeconfig. Default: KUBECONFIG, ~/.kube/config, or the service account of the pod.")
    context = _text("Context of the kubeconfig. Default: its current context.")
    clusters = Dict(
        value_trait=Dict(value_trait=Unicode()),
        help="Several clusters of one server, by name: {'prod-1': {'kubeconfig': PATH, 'context': NAME}, ...}. Each name is the CORTEX_CLUSTER with which the cluster's logs are recorded. Empty: one cluster.",
    ).tag(config=True)
    namespaces = List(Unicode(), help="Namespaces that this server serves. Empty: all that the cluster allows.").tag(
        config=True
    )
    access_for = Enum(
        ["server", "user"],
        "server",
        help="Whose permission to `get pods/log` counts if recordings or archives are shared: `server`, this server's own (a single-user server, whose kernels have the same credentials), or `user`, that of the user who asks (a service for many users).",
    ).tag(config=True)
    access_prefix = _text(
        "With access_for='user': prefix of user and group names in Kubernetes, as in its --oidc-username-prefix."
    )
    access_each = Bool(
        default_value=False,
        help="Show a task only to users who may also `get` the workload itself, so that resourceNames of RBAC count.",
    ).tag(config=True)
    task_label = _text("Label with which a launcher writes its own task ID on workloads.")
    audit_log = _text(
        "Where each read of a task's lines, and each refusal, is recorded as JSON: stderr, otel (OpenTelemetry logs), or the path of a file. If a record cannot be written, nothing is read. Default: CORTEX_AUDIT_LOG, else no audit log."
    )
    kinds = Union(
        [Unicode(), List()],
        default_value="",
        help="Rows about kinds of custom resources, over those that are built in: a list, or the path of a YAML or JSON file. Default: CORTEX_KINDS.",
    ).tag(config=True)
    heartbeat_s = Float(15.0, min=0.01, help="Seconds of silence after which a stream sends a comment.").tag(
        config=True
    )
    keep_alive_while_following = Bool(
        default_value=False,
        help="Count open streams of running tasks as activity, so that an idle server is not culled.",
    ).tag(config=True)

    @property
    def audit_target(self) -> str:
        """Where the audit log goes, "" if there is none."""
        return self.audit_log or os.environ.get("CORTEX_AUDIT_LOG", "")

    def note_activity(self) -> None:
        """Tell Jupyter Server that it is in use. Without a server, do nothing."""
