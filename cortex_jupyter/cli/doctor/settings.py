"""Check our settings in Jupyter's configuration files, which servers read in addition to the environment."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cortex_jupyter.cli.doctor.finding import BAD, TOLD, WARN, Finding
from cortex_jupyter.cluster import kinds
from cortex_jupyter.errors import BadQuery, CortexError
from cortex_jupyter.store import default_url
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.configuration import setting_problems, shown_settings, unknown_variables
from cortex_jupyter.store.url import without_password

if TYPE_CHECKING:
    from collections.abc import Iterator

PART: Final = "jupyter"
SETTINGS: Final = "settings"
KINDS: Final = "kinds"
#: The traits of what recordings may take.
BUDGET: Final = ("store_max_bytes", "store_max_age", "store_max_task_bytes")
#: Names of the configuration files of the extension, the server and the applications. Later ones override earlier ones.
_FILES: Final = (
    "jupyter_cortex_jupyter_config",
    "jupyter_server_config",
    "jupyter_notebook_config",
    "jupyter_lab_config",
)
_NAMES: Final = ("store_url", "archive_url", "kubeconfig", "context", "access_for", "task_label", *BUDGET)


@dataclass(frozen=True, slots=True)
class Settings:
    """Traits of `CortexJupyter` that are set in configuration files; empty if not set.

    Parameters
    ----------
    store_url, archive_url, kubeconfig, context, access_for, task_label : str
    store_max_bytes, store_max_age, store_max_task_bytes : str
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
    task_label: str = ""
    store_max_bytes: str = ""
    store_max_age: str = ""
    store_max_task_bytes: str = ""
    files: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def traits(self) -> dict[str, str]:
        """Return the traits by their names."""
        return {name: getattr(self, name) for name in _NAMES}

    def budget(self) -> Budget:
        """Return what a server sets in a store of its own when it is first used; nothing if that is invalid."""
        with contextlib.suppress(BadQuery):
            return Budget.parse(self.store_max_bytes, self.store_max_age, self.store_max_task_bytes)
        return Budget()

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
    """Report the rows of `CORTEX_KINDS`; `judge` reports what is wrong with them."""
    if not os.environ.get(kinds.SETTING):
        return
    with contextlib.suppress(CortexError):
        names = [name for name, row in kinds.table().items() if kinds.TABLE.get(name) is not row]
        yield Finding(KINDS, TOLD, f"{kinds.SETTING} has rows for {', '.join(names) or 'no kind'}")


def _values(settings: Settings) -> Iterator[Finding]:
    """Report each setting that is set, with where it was set, and what is wrong."""
    if shown := shown_settings(settings.traits(), os.environ):
        details = tuple(f"{name}={value}" for name, value in shown.items())
        yield Finding(SETTINGS, TOLD, "these settings are set; all others have their defaults", details=details)
    for problem in setting_problems(settings.traits()):
        where = f" (in {', '.join(settings.files)})" if problem.message.startswith("CortexJupyter.") else ""
        yield Finding(SETTINGS, BAD, problem.message + where, problem.hint)
    for name, similar in unknown_variables(os.environ).items():
        todo = f"did you mean {similar}?" if similar else "docs/reference/settings.md lists all settings"
        yield Finding(SETTINGS, WARN, f"{name} is set, and is no setting", todo)


def judge(settings: Settings) -> Iterator[Finding]:
    """Report settings that apply to servers only."""
    for text in settings.broken:
        yield Finding(
            PART, WARN, f"cannot load a configuration file: {text}", "correct it; servers start without its settings"
        )
    yield from _values(settings)
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
