"""Start a Jupyter server with the extension: `python -m cortex_jupyter.server`. `--help-all` lists the settings."""

from cortex_jupyter.server.app import CortexJupyter

if __name__ == "__main__":
    CortexJupyter.launch_instance()  # type: ignore[no-untyped-call]  # jupyter_server has no types
