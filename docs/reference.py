"""Write the API reference from the docstrings, with pdoc: `make docs`, or `python docs/reference.py FOLDER`."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pdoc

import cortex_jupyter

#: What public calls give, and where that is written.
PAGES = (
    "errors",
    "notebook.record",
    "notebook.follow",
    "notebook.tasktable",
    "notebook.metrics",
    "notebook.masked",
    "analysis.result_frame",
    "analysis.error_list",
    "analysis.errors",
    "analysis.why",
    "analysis.diagnosis",
    "analysis.pattern_table",
    "analysis.comparison",
    "analysis.compare",
    "analysis.progress_table",
    "tables.statement",
    "parsing.blocks",
    "query.language",
)


def write(folder: Path) -> None:
    """Write the reference into a folder."""
    for name in cortex_jupyter.__all__:
        setattr(cortex_jupyter, name, getattr(cortex_jupyter, name))  # pdoc looks for what is loaded
    pdoc.render.configure(
        docformat="numpy", show_source=False, footer_text=f"cortex-jupyter {cortex_jupyter.__version__}"
    )
    modules = [f"cortex_jupyter.{page}" for page in PAGES]
    for module in modules:
        import_module(module)
    pdoc.pdoc("cortex_jupyter", "!cortex_jupyter.", *modules, output_directory=folder)


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "reference" / "api"))
