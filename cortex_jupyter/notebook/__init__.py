"""The Python interface for notebooks, IPython and scripts: `TaskLog`, the viewer, the magic."""
