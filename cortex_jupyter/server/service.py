"""The state that all handlers of one server share: recordings, users and their permissions, open streams."""

from __future__ import annotations

import asyncio
import logging
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from tornado.web import HTTPError

from cortex_jupyter.archive.store import select_archive
from cortex_jupyter.cluster.access import Access, Person
from cortex_jupyter.errors import (
    BadQuery,
    ClusterUnreachable,
    CortexError,
    NoCluster,
    NotAllowed,
    SignInUnavailable,
    TaskNotFound,
)
from cortex_jupyter.reader.filtering import THREADS
from cortex_jupyter.reader.session import Session
from cortex_jupyter.reader.shared_lists import SharedLists
from cortex_jupyter.server.id_token import OpenIDConnect
from cortex_jupyter.server.readers import Readers, WorkLimiter
from cortex_jupyter.store.budget import Budget
from cortex_jupyter.store.deletion import not_held
from cortex_jupyter.store.open import open_store
from cortex_jupyter.store.quotas import not_held_hint
from cortex_jupyter.telemetry import tracing
from cortex_jupyter.telemetry.audit import open_audit_log

if TYPE_CHECKING:
    from jupyter_server.base.handlers import JupyterHandler

    from cortex_jupyter.model import Cursor, TaskRef
    from cortex_jupyter.reader.session import Recording
    from cortex_jupyter.server.auditing import AuditedHandler
    from cortex_jupyter.server.settings import Settings
    from cortex_jupyter.telemetry.audit import AuditLog

_log = logging.getLogger(__name__)

#: Prefix of the user and group names that Kubernetes reserves for itself.
_RESERVED: Final = "system:"


class Service:
    """The shared state of one server. It opens the store and the cluster when they are first needed.

    Parameters
    ----------
    app : Settings
    cluster : str, optional
        The name of the only cluster that this service reads, if the server has several. See `clusters`.
    server : Service, optional
        The service of the whole server, with which this one shares limits and audit log.

    Attributes
    ----------
    problem : CortexError or None
        What is wrong with the settings: the error of each request.
    """

    def __init__(self, app: Settings, cluster: str = "", server: Service | None = None) -> None:
        self.app, self.cluster, self._server = app, cluster, server
        self.problem: CortexError | None = None
        self._recordings: Session | None = None
        self._opening = asyncio.Lock()
        self._connecting: asyncio.Task[Session] | None = None
        self.readers: Readers = server.readers if server else Readers(app)
        self.searches: WorkLimiter = server.searches if server else WorkLimiter(app.max_searches)
        self.filters: WorkLimiter = server.filters if server else WorkLimiter(THREADS)
        self.lists = SharedLists()
        self._audit_log: AuditLog | None = None

    async def recordings(self) -> Session:
        """Return the open store and cluster.

        Raises
        ------
        BadQuery, MissingExtra
            A setting of the store is wrong, or masking is on and its extra is missing.
        StoreError
            The store cannot be opened. The next request tries again.
        NoCluster
            The server has several clusters, and the kubeconfig of this one cannot be used.
        """
        if self.problem is not None:
            raise self.problem
        if self.app.clusters and not self.cluster:
            raise BadQuery(
                "this server has several clusters, and the request names none", "use cortex/clusters/NAME/..."
            )
        async with self._opening:
            session = self._recordings
            if session is None:
                if self._connecting is None:
                    self._connecting = asyncio.create_task(self._connect())
                # A request that is cancelled, or has waited too long, does not stop it: the next one goes on with it.
                session = await asyncio.shield(self._connecting)
            await session.refresh()
            if self.cluster and session.cluster is None:
                # Without a cluster, recordings of all clusters count as readable: nobody could be asked.
                await session.connected()
            return session

    async def _connect(self) -> Session:
        app = self.app
        try:
            # In a thread: the import takes a second, and meanwhile the event loop must serve kernels.
            await asyncio.to_thread(import_module, "cortex_jupyter.cluster.session")
            options = app.clusters.get(self.cluster) or {"kubeconfig": app.kubeconfig, "context": app.context}
            budget = Budget.parse(app.store_max_bytes, app.store_max_age, app.store_max_task_bytes)
            self._recordings = await Session.connect(
                app.store_url or None,
                options.get("kubeconfig") or None,
                options.get("context") or None,
                app.task_label,
                budget,
                lambda store: select_archive(store, app.archive_url or None),
                Access(each=app.access_each) if app.access_for == "user" or app.access_each or self.cluster else None,
                mask=app.mask,
                name=self.cluster or None,
            )
        finally:
            self._connecting = None
        return self._recordings

    def try_store(self) -> None:
        """Open the store, if its address is configured, and close it again; log the error. This blocks.

        A store at the usual place is created when it is first needed.
        """
        url = self.app.store_url or os.environ.get("CORTEX_STORE")
        if not url or self.problem is not None:
            return
        try:
            open_store(url).close()
        except CortexError as error:
            reason = f"{error.message}; {error.hint}" if error.hint else error.message
            _log.critical("the store cannot be used: %s", reason, extra={"code": error.code})

    def audit_log(self) -> AuditLog:
        """Return the audit log, which is opened when it is first needed.

        Raises
        ------
        AuditError
            It cannot be opened. The next request tries again.
        """
        if self._server is not None:
            return self._server.audit_log()
        if self._audit_log is None:
            self._audit_log = open_audit_log(self.app.audit_target, "cortex-jupyter-server")
        return self._audit_log

    def person(self, user: Any) -> Person | None:
        """Return the Kubernetes identity of a user of this server; None if the server's own permissions count.

        Parameters
        ----------
        user : jupyter_server.auth.User
            A user of a Hub, or of an OpenID Connect provider, has groups too.

        Raises
        ------
        NotAllowed
            The name is reserved by Kubernetes.
        """
        app = self.app
        if app.access_for == "server":
            return None
        groups = getattr(user, "groups", None) or (getattr(user, "hub_user", None) or {}).get("groups") or ()
        name, *group_names = (app.access_prefix + plain for plain in (user.username, *groups))
        # No user may choose such a name: `system:masters` may do everything.
        if name.startswith(_RESERVED):
            hint = "set CortexJupyter.access_prefix, or OpenIDConnect.username_prefix"
            raise NotAllowed(f"Kubernetes reserves the user name {name!r}", hint)
        return Person(name, (*(n for n in group_names if not n.startswith(_RESERVED)), "system:authenticated"))

    def allow(self, namespace: str) -> None:
        """Check that this server serves tasks of a namespace.

        Raises
        ------
        NotAllowed
        """
        allowed = self.app.namespaces
        if allowed and namespace not in allowed:
            raise NotAllowed(
                f"this server does not serve namespace {namespace!r}", f"it serves {', '.join(sorted(allowed))}"
            )

    async def find(self, ref: TaskRef, request: AuditedHandler, cursor: Cursor | None = None) -> Recording:
        """Find a task and request its recording. This begins a read, for the audit log.

        Parameters
        ----------
        ref : TaskRef
        request : AuditedHandler
            The request of the user who asks.
        cursor : Cursor, optional
            Where the reader resumes.

        Raises
        ------
        CursorNotHeld
            The task does not exist any more, and its recording has left the store.
        TaskNotFound, AmbiguousTask, NotAllowed, ClusterError, NoCluster, StoreError, AuditError
        """
        self.allow(ref.namespace)
        recordings = await self.recordings()
        try:
            with tracing.span("cortex.task.find", {"k8s.namespace.name": ref.namespace, "cortex.task": ref.key}):
                recording = await recordings.find(ref, self.person(request.current_user))
            request.begin_reads(recording.ref)
        except (TaskNotFound, NoCluster, ClusterUnreachable):
            store, recorded = recordings.store, cursor.recording if cursor else 0
            if recorded and await asyncio.to_thread(store.info, recorded) is None:
                hint = await asyncio.to_thread(not_held_hint, store, ref.namespace)
                raise await asyncio.to_thread(not_held, store, recorded, f"the recording of {ref.key}", hint) from None
            raise
        return recording

    def full_name(self, task: str) -> str:
        """Return a task's key, with the name of its cluster if the server has several."""
        return f"{self.cluster}/{task}" if self.cluster else task

    def user(self, handler: JupyterHandler) -> str:
        """Return the user as which a request is counted.

        A request with the server's own token has a new user name each time, so all of these count as one.
        """
        if self.app.access_for == "server" and handler.token_authenticated:
            return ""
        name: str = handler.current_user.username
        return name

    def note_activity(self) -> None:
        """Tell Jupyter Server that it is in use, if `keep_alive_while_following` is set."""
        if self.app.keep_alive_while_following:
            self.app.note_activity()

    async def close(self) -> None:
        """End the streams, and close the store and the cluster."""
        await self.readers.end()
        if (connecting := self._connecting) is not None:
            connecting.cancel()
            await asyncio.wait([connecting])
        if self._recordings is not None:
            await self._recordings.close()
            self._recordings = None


class RequestPermissions:
    """What the user of one request may read; implements `reader.permissions.Permissions`.

    Parameters
    ----------
    service : Service
    handler : JupyterHandler
        The request, which may last for days.
    """

    def __init__(self, service: Service, handler: JupyterHandler) -> None:
        self._service, self._handler = service, handler

    @property
    def _person(self) -> Person | None:
        return self._service.person(self._handler.current_user)

    async def check(self, ref: TaskRef) -> None:
        """Check that the user, as known now, may read a task.

        Raises
        ------
        NotAllowed
        ClusterError, ClusterUnreachable
            The cluster cannot be asked.
        """
        recordings, person = await self._service.recordings(), self._person
        await recordings.allow(ref.namespace, person)
        await recordings.check(ref, person)

    async def hidden(self, ref: TaskRef) -> dict[str, str]:
        """Return what the user may not see beside a task's lines, and why; see `Connection.hidden`.

        Raises
        ------
        ClusterError, ClusterUnreachable
            The cluster cannot be asked.
        """
        return await (await self._service.recordings()).hidden(ref.namespace, self._person)

    async def renew(self) -> bool:
        """Ask the Hub, if there is one, who the user is. Return whether their name or groups have changed.

        A user may sign out, or lose a role or a group, while a stream is open. If the Hub does not answer, its last answer
        holds. An ID token holds until it expires, or until its provider withdraws the key that it is signed with.

        Raises
        ------
        NotAllowed
            The Hub, or the user's token, does not let the user in any more.
        """
        handler = self._handler
        if isinstance(handler.identity_provider, OpenIDConnect):
            await _check_token(handler.identity_provider, handler)
            return False
        hub = getattr(handler.identity_provider, "hub_auth", None)
        if hub is None:
            return False
        try:
            user = await hub.user_for_token(hub.get_token(handler), session_id=hub.get_session_id(handler), sync=False)
        except HTTPError as error:
            _log.warning("cannot ask JupyterHub who the reader is: it answered with status %s", error.status_code)
            return False
        if user is None or not hub.check_scopes(hub.access_scopes, user):
            raise NotAllowed("JupyterHub does not let you in any more", "sign in again; another tab will do")
        before = self._person
        handler.current_user = type(handler.current_user)(user)
        return self._person != before


async def _check_token(provider: OpenIDConnect, handler: JupyterHandler) -> None:
    """Check that the ID token of an open request is still valid.

    Raises
    ------
    NotAllowed
    """
    try:
        await provider.identify(handler)
    except SignInUnavailable as error:
        provider.check_expiry(handler.current_user)
        _log.warning("%s", error.message)
