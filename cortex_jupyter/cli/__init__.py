"""`cortex-jupyter`: tasks, logs, export, record, demo, doctor."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        Arguments; by default those of the process.

    Returns
    -------
    int
        The exit code: 0; 1 after an error; 2 if the command line is wrong; the task's own for `logs -f`; 4 for
        `logs --strict` if lines are missing.
    """
    from cortex_jupyter.cli.command_line import run  # so that an import of the package stays cheap

    return run(argv)
