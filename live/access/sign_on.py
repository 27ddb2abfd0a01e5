"""The shop signs its shoppers in: its token for ours, and the guest's cart goes over to the customer's."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import InvalidPayloadError, JoseError, UnsupportedAlgorithmError
from joserfc.jws import JWSRegistry
from prometheus_client.core import CounterMetricFamily
from sqlalchemy import Connection

from live.access import store
from live.access.claims import ALGORITHMS, Policy, Shopper, header, shopper
from live.access.jwks import PublicKey
from live.access.keyring import Keyring, of_file, of_url
from live.access.keys import digest
from live.core.auth import ALL_SHOWS, Principal, Role, Tokens
from live.core.clock import Clock
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import secret_token
from live.core.limits import SIGN_ON_TOKEN_BYTES_MAX
from live.core.settings import Settings
from live.core.text import clean_name

log = logging.getLogger(__name__)
Merge = Callable[[str, Principal], Awaitable[Any]]
"""Has a customer's carts take over what those of a guest (a subject) hold; done again it finds nothing to do."""


class SignedOn(msgspec.Struct, frozen=True):
    """Who that is from now on. `merged`: what became of the guest's cart, None: there was none to look at."""

    principal: Principal
    token: str
    expires_in_s: int
    merged: dict[str, Any] | None


class Whom(msgspec.Struct, frozen=True):
    """A customer of the shop, whose id here is `viewer_id`. `name` None: the shop tells none that can be shown.

    `issuer`: what the shop calls itself, mostly the address of its pages.
    """

    viewer_id: str
    name: str | None
    customer: str
    issuer: str


class _Registry(JWSRegistry):
    """One algorithm and no other; the library warns of EdDSA's old name, which shops still use."""

    max_header_length = max_payload_length = SIGN_ON_TOKEN_BYTES_MAX

    def get_alg(self, name: str) -> Any:
        if [name] != self.allowed:
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]


_REGISTRIES = {name: _Registry(algorithms=[name], strict_check_header=False) for name in ALGORITHMS}


class SignOn:
    """See the module. `keyring` None: no shop signs its shoppers in here. `merge` is set by app.py (None: nothing is
    merged)."""

    def __init__(
        self, keyring: Keyring | None, policy: Policy, database: Database, tokens: Tokens, clock: Clock, ttl_s: int
    ) -> None:
        self._keyring = keyring
        self._policy = policy
        self._database = database
        self._tokens = tokens
        self._clock = clock
        self._ttl_s = ttl_s
        self.merge: Merge | None = None
        self.outcomes: Counter[str] = Counter({"done": 0})  # by the problem's name

    @classmethod
    def of(cls, settings: Settings, database: Database, tokens: Tokens, clock: Clock) -> "SignOn":
        """The one that `settings` describe."""
        keyring = None
        if settings.sign_on_keys_file:
            keyring = Keyring(of_file(Path(settings.sign_on_keys_file)), clock)
        elif settings.sign_on_keys_url:
            keyring = Keyring(of_url(settings.sign_on_keys_url), clock)
        policy = Policy(
            issuer=settings.sign_on_issuer,
            audience=settings.sign_on_audience,
            age_s=settings.sign_on_age_s,
            segments=settings.sign_on_segments,
            name=settings.sign_on_name,
            once=settings.sign_on_once,
        )
        return cls(keyring, policy, database, tokens, clock, settings.sign_on_ttl_s)

    async def whom(self, token: str) -> Whom:
        """Whom the shop's `token` would sign in: nothing happens, and what is good once stays good.

        Raises `Problem` sign_on_…. A page asks it before somebody becomes another person by a link, which may come from
        anybody.
        """
        try:
            found = await self._believed(token)
        except Problem as problem:
            self.outcomes[problem.kind.name] += 1
            raise
        return Whom(self._tokens.subject_of(found.customer), _told(found.name), found.customer, self._policy.issuer)

    async def sign_on(self, token: str, guest: str | None = None, key: str | None = None) -> SignedOn:
        """Sign in whom the shop's `token` names; what the `guest` (a token of ours) has in the cart goes along.

        Raises `Problem` sign_on_…, token_invalid and role_forbidden for the guest's token, and what `merge` raises. A
        request that is sent again with its Idempotency-Key is answered alike, also where a token is good once.
        """
        try:
            done = await self._sign_on(token, guest, key)
        except Problem as problem:
            self.outcomes[problem.kind.name] += 1
            raise
        self.outcomes["done"] += 1
        return done

    async def _sign_on(self, token: str, guest: str | None, key: str | None) -> SignedOn:
        found = await self._believed(token)
        before = self._guest(guest)
        if self._policy.once:
            await self._use(found, before, key)
        subject = self._tokens.subject_of(found.customer)
        principal = Principal(
            subject=subject,
            role=Role.viewer,
            show=ALL_SHOWS,
            name=_name(found.name, before, subject),
            customer=found.customer,
            segments=found.segments,
        )
        merged = None
        if self.merge is not None and before is not None and before.customer is None:
            merged = plain(await self.merge(before.subject, principal))
        return SignedOn(principal, self._tokens.sign(principal, self._ttl_s), self._ttl_s, merged)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Prometheus figures."""
        text = "Shoppers whom the shop wanted to sign in, by what became of it"
        family = CounterMetricFamily("showcart_sign_ons", text, labels=["outcome"])
        for outcome, count in self.outcomes.items():
            family.add_metric([outcome], count)
        yield family

    async def close(self) -> None:
        """Ask the shop no more."""
        if self._keyring is not None:
            await self._keyring.close()

    async def _believed(self, token: str) -> Shopper:
        """Whom `token` signs in. The algorithm is allowed and fits the key before anything is computed."""
        if self._keyring is None:
            raise Problem(Kind.sign_on_off)
        said = header(token)
        claims = _verified(token, said.algorithm, await self._keyring.key(said.algorithm, said.kid))
        return shopper(claims, self._policy, self._clock.now_ms() / 1000)

    def _guest(self, token: str | None) -> Principal | None:
        """Whose cart comes along. None: nobody's, or that of a guest who has been away for so long that it is gone."""
        if token is None:
            return None
        try:
            guest = self._tokens.verify(token)
        except Problem as problem:
            if problem.kind is Kind.token_expired:
                return None
            raise Problem(problem.kind, field="guest") from None
        if guest.role is not Role.viewer:
            raise Problem(Kind.role_forbidden, "Staff do not become customers.", field="guest")
        return guest

    async def _use(self, found: Shopper, guest: Principal | None, key: str | None) -> None:
        """Raises `Problem` sign_on_used."""
        assert found.id is not None, "the policy asks for it"
        id_ = digest(found.id)
        request = digest(secret_token() if key is None else key, "" if guest is None else guest.subject)

        def work(conn: Connection) -> bool:
            return store.use_token(conn, id_, request, found.until_s * 1000, self._database.now_ms_sync(conn))

        if not await self._database.write_sync(work):
            raise Problem(Kind.sign_on_used, field="token")


def _verified(token: str, algorithm: str, key: PublicKey) -> dict[str, Any]:
    """What a token claims; raises `Problem` sign_on_signature, sign_on_malformed."""
    try:
        return jwt.decode(token, key, registry=_REGISTRIES[algorithm]).claims
    except (InvalidPayloadError, RecursionError):
        raise Problem(Kind.sign_on_malformed, "The claims are not a JSON object.", field="token") from None
    except (JoseError, ValueError, TypeError):
        raise Problem(Kind.sign_on_signature, field="token") from None


def _name(told: str | None, guest: Principal | None, subject: str) -> str:
    """What the shop says, else what the guest was called, else a name that is the same on each device."""
    if (clean := _told(told)) is not None:
        return clean
    return guest.name if guest is not None else f"Guest {int(subject[1:9], 16) % 10_000:04d}"


def _told(name: str | None) -> str | None:
    """The name that the shop tells; None: it tells none that can be shown."""
    if name is None:
        return None
    try:
        return clean_name(name)
    except Problem as problem:
        log.info("a name that the shop tells cannot be shown: %s", problem.detail)
        return None
