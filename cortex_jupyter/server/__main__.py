"""`python -m cortex_jupyter.server --help-all`: the extension's settings. Without options, a Jupyter server that has it."""

from cortex_jupyter.server.app import CortexJupyter

if __name__ == "__main__":
    CortexJupyter.launch_instance()  # type: ignore[no-untyped-call]  # jupyter_server tells no types
