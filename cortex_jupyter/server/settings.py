"""The settings of the extension, as traits of `c.CortexJupyter`; those that bound what it gives are in `limits`."""

from __future__ import annotations

from traitlets import Bool, Enum, Float, List, Unicode

from cortex_jupyter.server.limits import Limits


def _text(what: str) -> Unicode:
    """Give a setting that is empty where it is not set."""
    return Unicode("", help=what).tag(config=True)


class Settings(Limits):
    """What the administrator or user of one server sets."""

    store_url = _text(
        "Where recordings are kept, sqlite:///absolute/path or valkey://host; else CORTEX_STORE, else the user's data directory."
    )
    store_max_bytes = _text(
        "What recordings may take, such as 50GB; completed ones leave, the longest ended first. Else CORTEX_STORE_MAX_BYTES, else 20 GiB or a tenth of the disk, whichever is less."
    )
    store_max_age = _text(
        "How long after its end a task's recording is kept, such as 30d, which is the default; else CORTEX_STORE_MAX_AGE."
    )
    store_max_task_bytes = _text(
        "What the recording of a running task may take, such as 2GB: its oldest lines leave then, and a gap notice says so. Else CORTEX_STORE_MAX_TASK_BYTES, else there is no such bound."
    )
    archive_url = _text(
        "Where completed recordings are written as Parquet: a folder, s3://, gs:// or az://; else CORTEX_ARCHIVE. They leave the store only when they are there."
    )
    mask = Bool(
        None,
        allow_none=True,
        help="Whether tokens, keys, passwords and e-mail addresses are masked before lines are stored; holds for all who use the store; in a shared one `cortex-jupyter store set mask=on` does. Else CORTEX_MASK, else what was set before.",
    ).tag(config=True)
    kubeconfig = _text("Path of a kubeconfig; else KUBECONFIG, ~/.kube/config or the pod's own.")
    context = _text("The kubeconfig's context; else its current one.")
    namespaces = List(Unicode(), help="Namespaces whose tasks may be read; empty for all the cluster allows.").tag(
        config=True
    )
    access_for = Enum(
        ["server", "user"],
        "server",
        help="Whose right to `get pods/log` counts where recordings or archives are shared: this server's own (a single-user server, whose kernels have the same credentials), or that of each user who asks (a service for many).",
    ).tag(config=True)
    access_prefix = _text(
        "With access_for='user': what Kubernetes knows users and groups by before their names, as its --oidc-username-prefix."
    )
    access_each = Bool(
        default_value=False,
        help="Whether a task is shown only to who may also `get` the workload itself, so that RBAC's resourceNames count.",
    ).tag(config=True)
    task_label = _text("The label by which a launcher marks its workloads with its own task id.")
    heartbeat_s = Float(15.0, help="Seconds of silence after which a stream sends a comment.").tag(config=True)
    keep_alive_while_following = Bool(
        default_value=False,
        help="Whether a stream of a running task counts as activity, so that the idle server is not culled.",
    ).tag(config=True)

    def note_activity(self) -> None:
        """Tell the server that work is going on; nothing where there is none."""
