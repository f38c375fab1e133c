"""What one server gives at most, to all and to each user, as settings; README's table says what to do when one is reached."""

from __future__ import annotations

from traitlets import HasTraits, Int


class Limits(HasTraits):  # type: ignore[misc]  # traitlets tells no types
    """The limits of a server; no ordinary reader meets one."""

    max_streams = Int(500, min=1, help="Streams, searches and downloads open at one time, of all users together.").tag(
        config=True
    )
    max_streams_per_user = Int(
        100,
        min=1,
        help="Of them, those of one user. Whoever comes with the server's own token is one user, whatever their name.",
    ).tag(config=True)
    max_tasks_per_stream = Int(50, min=1, help="Tasks of one stream.").tag(config=True)
    max_viewers = Int(200, min=1, help="Streams that follow one task at one time.").tag(config=True)
