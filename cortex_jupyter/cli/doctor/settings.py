"""Check our settings in Jupyter's configuration files, which servers read in addition to the environment."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cli.doctor.finding import BAD, TOLD, WARN, Finding
from cortex_jupyter.cluster import kinds
from cortex_jupyter.errors import CortexError
from cortex_jupyter.store import default_url
from cortex_jupyter.store.url import without_password

if TYPE_CHECKING:
    from collections.abc import Iterator

PART: Final = "jupyter"
KINDS: Final = "kinds"
#: Names of the configuration files of the extension, the server and the applications. Later ones override earlier ones.
_FILES: Final = (
    "jupyter_cortex_jupyter_config",
    "jupyter_server_config",
    "jupyter_notebook_config",
    "jupyter_lab_config",
)
_NAMES: Final = ("store_url", "archive_url", "kubeconfig", "context", "access_for")


@dataclass(frozen=True, slots=True)
class Settings:
    """Traits of `CortexJupyter` that are set in configuration files; empty if not set.

    Parameters
    ----------
    store_url, archive_url, kubeconfig, context, access_for : str
    files : tuple of str
        Files that set one of them.
    broken : tuple of str
        Files that cannot be loaded, each with the reason.
    """

    store_url: str = ""
    archive_url: str = ""
    kubeconfig: str = ""
    context: str = ""
    access_for: str = ""
    files: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    @property
    def for_users(self) -> bool:
        """Whether a server reads on behalf of its users here: by its setting, or because it is a service of a JupyterHub."""
        service = "JUPYTERHUB_SERVICE_URL" in os.environ and "JUPYTERHUB_USER" not in os.environ
        return self.access_for == "user" or (service and not self.access_for)


def read() -> Settings:
    """Load the configuration files as a server of this environment does."""
    from jupyter_core.application import JupyterApp  # slow

    values: dict[str, str] = {}
    files: list[str] = []
    broken: list[str] = []
    for name in _FILES:
        try:
            app: Any = JupyterApp(config_file_name=name, raise_config_file_errors=True)
        except RuntimeError as error:  # there is no home directory
            broken.append(f"{name}: {error}")
            continue
        with contextlib.redirect_stdout(sys.stderr):  # the files may print, and the report is on stdout
            try:
                app.load_config_file(suppress_errors=False)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - configuration files are programs
                broken.append(f"{name}: {type(error).__name__}: {error}")
        traits = app.config.get("CortexJupyter", {})
        file_values = {k: traits[k] for k in _NAMES if isinstance(traits.get(k), str) and traits[k]}
        if file_values.items() - values.items():
            files += [file for file in app.loaded_config_files if file not in files]
        values |= file_values
    return Settings(**values, files=tuple(files), broken=tuple(broken))


def judge_kinds() -> Iterator[Finding]:
    """Report the rows of `CORTEX_KINDS`."""
    if not os.environ.get(kinds.SETTING):
        return
    try:
        names = [name for name, row in kinds.table().items() if kinds.TABLE.get(name) is not row]
    except CortexError as error:
        yield Finding(KINDS, BAD, error.message, error.hint)
    else:
        yield Finding(KINDS, TOLD, f"{kinds.SETTING} has rows for {', '.join(names) or 'no kind'}")


def judge(settings: Settings) -> Iterator[Finding]:
    """Report settings that apply to servers only."""
    for text in settings.broken:
        yield Finding(
            PART, WARN, f"cannot load a configuration file: {text}", "correct it; servers start without its settings"
        )
    names = [name for name in _NAMES if getattr(settings, name)]
    if not names:
        return
    where = ", ".join(settings.files)
    text = f"the doctor checks with CortexJupyter's {', '.join(names)} from {where}"
    yield Finding(PART, TOLD, text)
    if settings.store_url and settings.store_url != default_url():
        server_store, other_store = (without_password(url) for url in (settings.store_url, default_url()))
        text = f"servers keep recordings in {server_store}, but kernels and the command line in {other_store}"
        yield Finding(PART, WARN, text, "set CORTEX_STORE, which all of them read, instead of CortexJupyter.store_url")
