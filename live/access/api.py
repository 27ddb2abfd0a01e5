"""Over HTTP: service keys (`/api/service-keys…`), for ops of all shows, and a shop's sign-on (`/api/sign-on`)."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from live.access.keys import ServiceKey
from live.access.parts import Access
from live.access.service import Issued
from live.access.sign_on import Whom
from live.core.auth import Role
from live.core.errors import Kind
from live.core.limits import SERVICE_KEY_OVERLAP_S
from live.core.rest import Operation, idempotency_key, principal_of, respond
from live.realtime.protocol import Viewer, wire_viewer


class NewServiceKey(msgspec.Struct, forbid_unknown_fields=True):
    """A key to make. `label`: whose it is, for people; `show` None: for all; `expires_in_s` None: it never expires."""

    label: str
    scopes: list[str]
    show: str | None = None
    expires_in_s: int | None = None


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    """How many seconds the secret of before is good beside the new one; 0: it ends at once."""

    overlap_s: int = SERVICE_KEY_OVERLAP_S


class ShopToken(msgspec.Struct, forbid_unknown_fields=True):
    """What the shop has signed. `guest`: our token of the guest whose cart goes along, None: nobody's."""

    token: str
    guest: str | None = None


class AskedToken(msgspec.Struct, forbid_unknown_fields=True):
    """What the shop has signed."""

    token: str


class ServiceKeys(msgspec.Struct):
    """The keys that are not revoked, the oldest first."""

    service_keys: list[ServiceKey]


class ServiceKeySecret(msgspec.Struct):
    """A key and its secret (`sck_…`), which is told this once: null when the request is a repeated one."""

    service_key: ServiceKey
    secret: str | None


class SignedIn(msgspec.Struct):
    """A signed-in shopper, and the token to present from now on. `viewer` is the same on each of their devices.

    `merged`: what became of the guest's cart, null: there was none to look at.
    """

    token: str
    expires_in_s: int
    viewer: Viewer
    customer: str
    segments: list[str]
    merged: dict[str, Any] | None


class _Operations:
    def __init__(self, access: Access) -> None:
        self._keys = access.keys
        self._sign_on = access.sign_on

    async def create(self, request: Request, body: NewServiceKey) -> Response:
        """For a program that calls this API: `Authorization: Bearer sck_…`. The token must be good for all shows."""
        made = await self._keys.create(
            _by(request),
            body.label,
            body.scopes,
            show=body.show,
            expires_in_s=body.expires_in_s,
            key=idempotency_key(request),
        )
        return _respond(made, 201)

    async def list_keys(self, _request: Request) -> ServiceKeys:
        return ServiceKeys(await self._keys.all())

    async def get(self, request: Request) -> ServiceKey:
        """Good or revoked."""
        return await self._keys.get(request.path_params["id"])

    async def rotate(self, request: Request, body: Rotation) -> Response:
        """Both secrets are good until the overlap is over; the one before those ends now."""
        by, key_id = _by(request), request.path_params["id"]
        return _respond(await self._keys.rotate(by, key_id, body.overlap_s, key=idempotency_key(request)))

    async def revoke(self, request: Request) -> None:
        """No worker takes it any more two seconds later."""
        await self._keys.revoke(request.path_params["id"])

    async def whom(self, _request: Request, body: AskedToken) -> Whom:
        """Nothing happens: a page asks this to ask the shopper, whom anybody may have sent a link with a token."""
        return await self._sign_on.whom(body.token)

    async def sign_on(self, request: Request, body: ShopToken) -> SignedIn:
        """A JWT that the shop has signed for one of its shoppers, for our token; docs/access.md says what is in it."""
        done = await self._sign_on.sign_on(body.token, body.guest, idempotency_key(request))
        who = done.principal
        assert who.customer is not None, "somebody was signed in"
        viewer = wire_viewer(who)
        return SignedIn(done.token, done.expires_in_s, viewer, who.customer, list(who.segments), done.merged)


_SIGN_ON = tuple(kind for kind in Kind if kind.name.startswith("sign_on_"))


def operations(access: Access) -> list[Operation]:
    """The HTTP operations of access."""
    on, path = _Operations(access), "/api/service-keys"
    unknown = (Kind.unknown_service_key,)
    return [
        Operation("POST", "/api/sign-on", on.sign_on, "Sign in with the shop's token", body=ShopToken, result=SignedIn,
                  tag="access", keyed=True, errors=(*_SIGN_ON, Kind.token_invalid, Kind.role_forbidden)),
        Operation("POST", "/api/sign-on/whom", on.whom, "Read whom the shop's token signs in", body=AskedToken,
                  result=Whom, tag="access", errors=_SIGN_ON),
        Operation("GET", path, on.list_keys, "List service keys", result=ServiceKeys, role=Role.ops, tag="access"),
        Operation("POST", path, on.create, "Make a service key", body=NewServiceKey, result=ServiceKeySecret,
                  status=201, role=Role.ops, tag="access", keyed=True,
                  errors=(Kind.too_many_service_keys, Kind.key_reused)),
        Operation("GET", f"{path}/{{id}}", on.get, "Read a service key", result=ServiceKey, role=Role.ops,
                  tag="access", errors=unknown),
        Operation("POST", f"{path}/{{id}}/secret", on.rotate, "Rotate a service key's secret", body=Rotation,
                  result=ServiceKeySecret, role=Role.ops, tag="access", keyed=True, errors=(*unknown, Kind.key_reused)),
        Operation("DELETE", f"{path}/{{id}}", on.revoke, "Revoke a service key", role=Role.ops, tag="access",
                  errors=unknown),
    ]  # fmt: skip


def _by(request: Request) -> str:
    principal = principal_of(request)
    assert principal is not None, "the operation has a role"
    return principal.subject


def _respond(issued: Issued, status: int = 200) -> Response:
    replayed = {"idempotency-replayed": "true"} if issued.secret is None else None
    return respond(ServiceKeySecret(issued.key, issued.secret), status, replayed)
