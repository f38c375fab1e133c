"""Identity providers for tests. A header or a cookie names the user."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jupyter_server.auth.identity import IdentityProvider, User


@dataclass
class HubUser(User):
    """A user as jupyterhub makes it, with the Hub's description in `hub_user`."""

    hub_user: dict[str, Any] = field(default_factory=dict)


class People(IdentityProvider):
    """Identifies programs by `X-User: NAME;GROUP;GROUP`, and browsers by a cookie `user=NAME`."""

    def get_user(self, handler: Any) -> HubUser | None:
        name, *groups = handler.request.headers.get("X-User", handler.get_cookie("user", "")).split(";")
        return HubUser(name, hub_user={"name": name, "groups": groups}) if name else None


class Fails(IdentityProvider):
    """Jupyter's own provider, except that a request with `X-Fails` gets an error that quotes its token."""

    def get_user(self, handler: Any) -> Any:
        if handler.request.headers.get("X-Fails"):
            raise ValueError(handler.get_argument("token"))
        return super().get_user(handler)
