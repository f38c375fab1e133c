"""What the handlers of one server share: its recordings, what may be read, and who reads."""

from __future__ import annotations

import asyncio
import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from tornado.web import HTTPError

from cortex_jupyter.archive.store import select_archive
from cortex_jupyter.cluster.access import Access, Person
from cortex_jupyter.errors import ClusterUnreachable, CursorNotHeld, NoCluster, NotAllowed, TaskNotFound
from cortex_jupyter.reader.filtering import THREADS
from cortex_jupyter.reader.session import Recordings
from cortex_jupyter.server.readers import Readers, Turns
from cortex_jupyter.store.budget import NOT_HELD_HINT, Budget
from cortex_jupyter.telemetry import tracing

if TYPE_CHECKING:
    from jupyter_server.base.handlers import JupyterHandler

    from cortex_jupyter.model import Cursor, TaskRef
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.server.settings import Settings

_log = logging.getLogger(__name__)

#: How the names begin that Kubernetes keeps for itself.
_SYSTEM: Final = "system:"


class Service:
    """The one of a server; opens the store and the cluster's configuration when it is first asked.

    Parameters
    ----------
    app : Settings
        Whose settings hold.
    """

    def __init__(self, app: Settings) -> None:
        self.app = app
        self._recordings: Recordings | None = None
        self._opening = asyncio.Lock()
        self.readers = Readers(app)
        self.searches = Turns(app.max_searches)
        self.filters = Turns(THREADS)

    async def recordings(self) -> Recordings:
        """Give the recordings.

        Raises
        ------
        BadQuery, MissingExtra
            A setting of the store cannot be read, or lines are to be masked and cannot be.
        StoreError
            The store cannot be opened; the next request tries again.
        """
        async with self._opening:
            if self._recordings is None:
                # In a thread, because it takes a second that kernels would wait for.
                await asyncio.to_thread(import_module, "cortex_jupyter.cluster.session")
                app = self.app
                budget = Budget.parse(app.store_max_bytes, app.store_max_age, app.store_max_task_bytes)
                self._recordings = await Recordings.connect(
                    app.store_url or None,
                    app.kubeconfig or None,
                    app.context or None,
                    app.task_label,
                    budget,
                    lambda store: select_archive(store, app.archive_url or None),
                    Access(each=app.access_each) if app.access_for == "user" or app.access_each else None,
                    mask=app.mask,
                )
            await self._recordings.refresh()
            return self._recordings

    def person(self, user: Any) -> Person | None:
        """Give on whose behalf is read when a user of this server asks; None: on this process's own.

        Parameters
        ----------
        user : jupyter_server.auth.User
            A Hub's user brings its groups with it.

        Raises
        ------
        NotAllowed
            Kubernetes would take the name for one of its own.
        """
        app = self.app
        if app.access_for == "server":
            return None
        groups = (getattr(user, "hub_user", None) or {}).get("groups") or ()
        name, *names = (app.access_prefix + one for one in (user.username, *groups))
        # These are not anybody's to choose: `system:masters` may do everything.
        if name.startswith(_SYSTEM):
            raise NotAllowed(f"the user name {name!r} is one of Kubernetes' own", "set CortexJupyter.access_prefix")
        return Person(name, (*(n for n in names if not n.startswith(_SYSTEM)), "system:authenticated"))

    def allow(self, namespace: str) -> None:
        """Check that tasks of a namespace may be read on this server at all.

        Raises
        ------
        NotAllowed
        """
        allowed = self.app.namespaces
        if allowed and namespace not in allowed:
            raise NotAllowed(
                f"namespace {namespace!r} is not open on this server", f"open are {', '.join(sorted(allowed))}"
            )

    async def find(self, ref: TaskRef, user: Any, cursor: Cursor | None = None) -> Recording:
        """Find a task and have it recorded.

        Parameters
        ----------
        ref : TaskRef
        user : jupyter_server.auth.User
            Who asks.
        cursor : Cursor, optional
            What the reader has of it.

        Raises
        ------
        CursorNotHeld
            There is no such task any more, and its recording has left the store.
        TaskNotFound, AmbiguousTask, NotAllowed, ClusterError, NoCluster, StoreError
        """
        self.allow(ref.namespace)
        recordings = await self.recordings()
        try:
            with tracing.span("cortex.task.find", {"k8s.namespace.name": ref.namespace, "cortex.task": ref.key}):
                return await recordings.find(ref, self.person(user))
        except (TaskNotFound, NoCluster, ClusterUnreachable):
            left = (
                cursor and cursor.recording and await asyncio.to_thread(recordings.store.info, cursor.recording) is None
            )
            if left:
                raise CursorNotHeld(f"the recording of {ref.key} is no longer held", NOT_HELD_HINT) from None
            raise

    async def check(self, ref: TaskRef, handler: JupyterHandler) -> None:
        """Check that somebody who reads a task may go on, as far as it is known who they are.

        Raises
        ------
        NotAllowed
        ClusterError, ClusterUnreachable
            The cluster cannot be asked.
        """
        recordings, person = await self.recordings(), self.person(handler.current_user)
        await recordings.allow(ref.namespace, person)
        await recordings.check(ref, person)

    async def hidden(self, ref: TaskRef, handler: JupyterHandler) -> dict[str, str]:
        """Return what a reader of a task may not see beside its lines, and why; see `Connection.hidden`.

        Raises
        ------
        ClusterError, ClusterUnreachable
            The cluster cannot be asked.
        """
        return await (await self.recordings()).hidden(ref.namespace, self.person(handler.current_user))

    async def renewed(self, handler: JupyterHandler) -> bool:
        """Take what the Hub, where there is one, says now of who reads, and tell whether that is something new.

        Who logs out there, or loses the role or a group, has a stream open that was begun before. A Hub that is away says
        nothing: what it said last holds until it is back.

        Raises
        ------
        NotAllowed
            It does not let them in any more.
        """
        hub = getattr(handler.identity_provider, "hub_auth", None)
        if hub is None:
            return False
        try:
            found = await hub.user_for_token(hub.get_token(handler), session_id=hub.get_session_id(handler), sync=False)
        except HTTPError as error:
            _log.warning("JupyterHub cannot be asked who reads: status %s", error.status_code)
            return False
        if found is None or not hub.check_scopes(hub.access_scopes, found):
            raise NotAllowed("JupyterHub does not let you in any more", "sign in again, in another tab too")
        before = self.person(handler.current_user)
        handler.current_user = type(handler.current_user)(found)
        return self.person(handler.current_user) != before

    def user(self, handler: JupyterHandler) -> str:
        """Give whose streams those of a request are; who comes with the server's own token has a new name each time."""
        if self.app.access_for == "server" and handler.token_authenticated:
            return ""
        name: str = handler.current_user.username
        return name

    def active(self) -> None:
        """Tell Jupyter Server that work is going on, where the setting says so."""
        if self.app.keep_alive_while_following:
            self.app.note_activity()

    async def close(self) -> None:
        """End the streams and close everything."""
        await self.readers.end()
        if self._recordings is not None:
            await self._recordings.close()
            self._recordings = None
