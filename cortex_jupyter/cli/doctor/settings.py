"""What Jupyter's configuration files say of us: servers go by them, and not by the environment alone."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cli.doctor.finding import TOLD, WARN, Finding
from cortex_jupyter.store import default_url
from cortex_jupyter.store.url import without_password

if TYPE_CHECKING:
    from collections.abc import Iterator

PART: Final = "jupyter"
#: In the order in which they are loaded, what comes later holds: the extension's own, the server's, the application's.
_FILES: Final = (
    "jupyter_cortex_jupyter_config",
    "jupyter_server_config",
    "jupyter_notebook_config",
    "jupyter_lab_config",
)
_LOOKED: Final = ("store_url", "archive_url", "kubeconfig", "context", "access_for")


@dataclass(frozen=True, slots=True)
class Settings:
    """Traits of `CortexJupyter` as they are set in files; empty ones are not.

    Parameters
    ----------
    store_url, archive_url, kubeconfig, context, access_for : str
    files : tuple of str
        Those that set one.
    broken : tuple of str
        Those that cannot be loaded, with why.
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
        """Whether a server here reads on behalf of its users: as it is set, or as a service of a JupyterHub."""
        service = "JUPYTERHUB_SERVICE_URL" in os.environ and "JUPYTERHUB_USER" not in os.environ
        return self.access_for == "user" or (service and not self.access_for)


def read() -> Settings:
    """Load the files as a server of this environment does."""
    from jupyter_core.application import JupyterApp  # noqa: PLC0415 - it takes a moment

    found: dict[str, str] = {}
    files: list[str] = []
    broken: list[str] = []
    for name in _FILES:
        try:
            app: Any = JupyterApp(config_file_name=name, raise_config_file_errors=True)
        except RuntimeError as error:  # there is no home directory
            broken.append(f"{name}: {error}")
            continue
        with contextlib.redirect_stdout(sys.stderr):  # what they print is none of our report
            try:
                app.load_config_file(suppress_errors=False)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - they are programs
                broken.append(f"{name}: {type(error).__name__}: {error}")
        ours = app.config.get("CortexJupyter", {})
        here = {k: ours[k] for k in _LOOKED if isinstance(ours.get(k), str) and ours[k]}
        if here.items() - found.items():
            files += [file for file in app.loaded_config_files if file not in files]
        found |= here
    return Settings(**found, files=tuple(files), broken=tuple(broken))


def judge(settings: Settings) -> Iterator[Finding]:
    """Say what of it holds for servers alone."""
    for text in settings.broken:
        yield Finding(
            PART, WARN, f"a configuration file cannot be loaded: {text}", "servers start without what it says"
        )
    names = [name for name in _LOOKED if getattr(settings, name)]
    if not names:
        return
    where = ", ".join(settings.files)
    text = f"CortexJupyter's {', '.join(names)} as in {where}: that is what is looked at here"
    yield Finding(PART, TOLD, text)
    if settings.store_url and settings.store_url != default_url():
        store, other = (without_password(url) for url in (settings.store_url, default_url()))
        text = f"servers keep recordings in {store}, kernels and the command line in {other}"
        yield Finding(PART, WARN, text, "set CORTEX_STORE, which all of them read, in place of CortexJupyter.store_url")
