"""What a user of a notebook, of IPython or of a script has in hand: `TaskLog`, the viewer, the magic."""
