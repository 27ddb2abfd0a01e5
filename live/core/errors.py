"""Every refusal has a number, a name and a status; every close code says whether to come back.

Numbers are promises to other programs: they are added, never changed or used again. Thousands belong to a part:
1 general, 2 shows, 3 video, 4 chat, 5 commerce.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any


@dataclass(frozen=True, slots=True)
class _Kind:
    number: int
    status: int
    title: str


class Kind(Enum):
    """What went wrong; the member's name in lower case is the error's name on the wire."""

    malformed = _Kind(1001, 400, "The request cannot be parsed")
    invalid_field = _Kind(1002, 422, "A field has a value that is not allowed")
    unsupported_media_type = _Kind(1003, 415, "The Content-Type is not supported here")
    too_large = _Kind(1004, 413, "The request is too large")
    unknown_command = _Kind(1005, 404, "There is no command of this name")
    rate_limited = _Kind(1006, 429, "Too many requests; slow down")
    overloaded = _Kind(1007, 503, "The server is full; try again later")
    not_found = _Kind(1008, 404, "There is nothing at this address")
    method_not_allowed = _Kind(1009, 405, "This address does not take that method")
    key_required = _Kind(1010, 400, "This change needs an Idempotency-Key")
    key_reused = _Kind(1011, 422, "The Idempotency-Key was used with another body")
    key_in_flight = _Kind(1012, 409, "A request with this Idempotency-Key is still running")
    precondition_required = _Kind(1013, 428, "If-Match is required")
    precondition_failed = _Kind(1014, 412, "If-Match does not name the current version")
    internal = _Kind(1015, 500, "Our fault; it has been logged")
    unavailable = _Kind(1016, 503, "A store is out of reach; nothing was changed")
    headers_too_large = _Kind(1017, 431, "The request's headers are too many or too large")
    request_timeout = _Kind(1018, 408, "The request did not arrive in time")
    draining = _Kind(1019, 503, "This worker is about to end; ask again on a new connection")
    token_missing = _Kind(1101, 401, "A bearer token is required")
    token_invalid = _Kind(1102, 401, "The token is not valid")
    token_expired = _Kind(1103, 401, "The token has expired")
    role_forbidden = _Kind(1104, 403, "Your role may not do this")
    show_forbidden = _Kind(1105, 403, "The token is for another show")
    origin_forbidden = _Kind(1106, 403, "This origin may not connect")
    scope_forbidden = _Kind(1107, 403, "The service key has not the scope that this needs")
    person_required = _Kind(1108, 403, "This is for persons; a service key may not do it")
    unknown_service_key = _Kind(1109, 404, "There is no such service key")
    too_many_service_keys = _Kind(1110, 409, "There are as many service keys as there may be")
    sign_on_off = _Kind(1111, 404, "No shop signs its shoppers in here")
    sign_on_malformed = _Kind(1112, 401, "The shop's token cannot be read")
    sign_on_algorithm = _Kind(1113, 401, "The shop's token is signed in a way that is not accepted")
    sign_on_key = _Kind(1114, 401, "The shop publishes no key that signed this token")
    sign_on_signature = _Kind(1115, 401, "The signature of the shop's token is wrong")
    sign_on_issuer = _Kind(1116, 401, "The token is not of this shop")
    sign_on_audience = _Kind(1117, 401, "The shop's token is for somebody else")
    sign_on_expired = _Kind(1118, 401, "The shop's token has expired")
    sign_on_early = _Kind(1119, 401, "The shop's token is not good yet")
    sign_on_old = _Kind(1120, 401, "The shop's token was made too long ago")
    sign_on_claim = _Kind(1121, 422, "A claim of the shop's token is missing or not allowed")
    sign_on_used = _Kind(1122, 409, "The shop's token was used before")
    sign_on_unreachable = _Kind(1123, 503, "The shop's keys are out of reach; try again")

    unknown_show = _Kind(2001, 404, "There is no such show")
    show_exists = _Kind(2002, 409, "A show with this id exists already")
    illegal_transition = _Kind(2003, 409, "The show cannot go there from its present state")
    not_in_lineup = _Kind(2004, 404, "This product is not in the show's lineup")
    unknown_stream_key = _Kind(2005, 404, "There is no such stream key")
    too_many_stream_keys = _Kind(2006, 409, "The show has as many stream keys as it may have")

    sdp_malformed = _Kind(3001, 400, "The SDP cannot be parsed")
    no_common_codec = _Kind(3002, 422, "The offer holds no codec that we relay (H.264, VP8, VP9, AV1, Opus)")
    wrong_direction = _Kind(3003, 422, "The offer's direction does not fit this endpoint")
    duplicate_track = _Kind(3004, 422, "Only one track of each kind is accepted")
    not_live = _Kind(3005, 409, "Nobody is publishing to this show at the moment")
    unknown_session = _Kind(3006, 404, "There is no such media session")
    ice_restart_unsupported = _Kind(3007, 422, "This ICE restart cannot be done; open a new session")
    not_bundled = _Kind(3008, 422, "The offer must bundle all media on one transport with rtcp-mux")

    chat_empty = _Kind(4001, 422, "The message holds no text")
    chat_too_long = _Kind(4002, 422, "The message is too long")
    slow_mode = _Kind(4003, 429, "Slow mode: wait before you write again")
    timed_out = _Kind(4004, 403, "You cannot write for a while")
    banned = _Kind(4005, 403, "You cannot write in this show")
    unknown_message = _Kind(4006, 404, "There is no such message")
    unknown_viewer = _Kind(4007, 404, "There is no such viewer")

    unknown_sku = _Kind(5001, 404, "There is no such SKU")
    invalid_quantity = _Kind(5002, 422, "The quantity is not allowed")
    sold_out = _Kind(5003, 409, "Sold out")
    hold_expired = _Kind(5004, 409, "The hold has expired")
    price_changed = _Kind(5005, 409, "The price has changed")
    cart_empty = _Kind(5006, 409, "The cart is empty")
    unknown_order = _Kind(5007, 404, "There is no such order")
    unknown_product = _Kind(5008, 404, "There is no such product")
    mixed_currency = _Kind(5009, 409, "A cart holds one currency")
    payment_refused = _Kind(5010, 402, "The payment was refused")
    import_failed = _Kind(5011, 422, "The file holds lines that cannot be imported")
    checkout_running = _Kind(5012, 409, "This cart is being paid for at the moment")
    not_in_cart = _Kind(5013, 404, "The cart does not hold this SKU")
    cart_full = _Kind(5014, 409, "The cart holds as many different things as it can")
    hold_final = _Kind(5015, 409, "The hold was extended as often as it can be")
    invalid_quote = _Kind(5016, 422, "The quote is not one of ours")
    quote_expired = _Kind(5017, 409, "The quote has expired")
    invalid_rules = _Kind(5018, 422, "The rules contradict themselves or can never apply")
    coupon_refused = _Kind(5019, 409, "The coupon cannot be used now")
    nothing_pinned = _Kind(5020, 409, "Nothing is pinned at the moment")
    unknown_ruleset = _Kind(5021, 404, "There is no such ruleset")
    rules_changed = _Kind(5022, 409, "Somebody has published other rules meanwhile")
    illegal_order_step = _Kind(5030, 409, "The order cannot do this in its present state")
    refund_exceeds = _Kind(5031, 409, "This is more than what is left of the order")
    shipping_required = _Kind(5032, 422, "Choose how the order reaches you")
    shipping_unavailable = _Kind(5033, 409, "The order cannot go this way")
    payment_pending = _Kind(5034, 409, "The payment's provider has not answered yet")
    unknown_shipping_method = _Kind(5035, 404, "There is no such way of shipping")
    withdrawal_expired = _Kind(5036, 409, "Too much time has gone by; begin the withdrawal again")
    drop_not_open = _Kind(5040, 409, "The drop has not opened yet")
    drop_over = _Kind(5041, 409, "The drop is over")
    drop_limit_reached = _Kind(5042, 409, "All that the drop may sell is taken")
    drop_customer_limit = _Kind(5043, 409, "One customer may not take more of this drop")
    unknown_drop = _Kind(5044, 404, "There is no such drop")
    not_sold_out = _Kind(5045, 409, "It is not sold out; put it into the cart")
    waitlist_full = _Kind(5046, 409, "As many wait for this as may wait")
    too_many_places = _Kind(5047, 409, "You wait for as many things as you may")
    drop_exists = _Kind(5048, 409, "The show has a drop of this SKU that is not over")
    drop_open = _Kind(5049, 409, "The drop has opened and cannot be changed any more")
    webhook_target_forbidden = _Kind(5060, 422, "Nothing is sent to this address")
    unknown_endpoint = _Kind(5061, 404, "There is no such webhook endpoint")
    too_many_endpoints = _Kind(5062, 409, "There are as many webhook endpoints as there may be")
    unknown_delivery = _Kind(5063, 404, "There is no such delivery")
    endpoint_disabled = _Kind(5064, 409, "The webhook endpoint is disabled; enable it first")
    handoff_off = _Kind(5070, 409, "Carts are not handed over here")
    unknown_handoff = _Kind(5071, 404, "There is no such hand-off")
    handoff_over = _Kind(5072, 409, "The hand-off was cancelled")
    handoff_reported = _Kind(5073, 409, "Something else was reported before")
    signature_invalid = _Kind(5074, 401, "The webhook is not signed with a secret that is known here")
    unknown_feed = _Kind(5080, 404, "There is no such feed")
    feed_forbidden = _Kind(5081, 422, "Nothing is read from this address")
    unknown_feed_run = _Kind(5082, 404, "There is no such run of a feed")
    feed_exists = _Kind(5083, 409, "A feed with this name exists already")
    too_many_feeds = _Kind(5084, 409, "There are as many feeds as there may be")
    unknown_location = _Kind(5090, 404, "There is no such location")
    location_exists = _Kind(5091, 409, "A location with this id exists already")
    too_many_locations = _Kind(5092, 409, "There are as many locations as there may be")
    location_in_use = _Kind(5093, 409, "The location is in use and cannot be closed")
    location_closed = _Kind(5094, 409, "The location is closed")
    stock_short = _Kind(5095, 409, "The location has not so many free units")
    unknown_transfer = _Kind(5096, 404, "There is no such transfer")

    def __init__(self, of: _Kind) -> None:
        # Attributes of its own: in a drop nearly every answer is a refusal, and an enum is slow to say its value.
        self.number, self.status, self.title = of.number, of.status, of.title


class Problem(Exception):
    """A refusal: bad input, a missing right, a full house. Nothing was changed.

    `field` names the offending member or header ("" for the request as a whole), `detail` says what to do,
    `retry_after_s` when to come back (None: at once, or never), `extra` adds members for programs.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str = "",
        *,
        field: str = "",
        retry_after_s: int | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.kind = kind
        self.detail = detail or kind.title
        self.field = field
        self.retry_after_s = retry_after_s
        self.extra = extra or {}

    def __str__(self) -> str:
        return f"{self.kind.number} {self.kind.name}: {self.detail}"

    def body(self) -> dict[str, Any]:
        """The members of RFC 9457 with ours: `code`, `name`, `field`, `retry_after_s` and the extras."""
        name = self.kind.name
        body: dict[str, Any] = {
            "type": f"urn:showcart:error:{name}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "code": self.kind.number,
            "name": name,
        }
        if self.field:
            body["field"] = self.field
        if self.retry_after_s is not None:
            body["retry_after_s"] = self.retry_after_s
        return body | self.extra


@dataclass(frozen=True, slots=True)
class Close:
    """Why a socket was closed. 3000–3499 and 4000–4499: reconnect with backoff; 3500–3999 and 4500–4999: final."""

    code: int
    reason: str

    @property
    def reconnect(self) -> bool:
        """Whether a client should come back by itself."""
        return self.code % 1000 < 500


GOING_AWAY = Close(4000, "server is going away")
TOO_SLOW = Close(4001, "too slow to keep up")
SILENT = Close(4002, "no answer to pings")
BUS_LOST = Close(4003, "the show's channel is out of reach")
TOKEN_EXPIRED = Close(4004, "token expired; connect with a new one")
FULL = Close(4005, "server is full")
NOT_CONNECTED = Close(4501, "no connect message in time")
MALFORMED_FRAME = Close(4502, "malformed frame")
MESSAGE_TOO_BIG = Close(4503, "message too big")
FLOOD = Close(4504, "too many commands")
TOKEN_REFUSED = Close(4505, "token refused")
UNKNOWN_SHOW = Close(4506, "unknown show")
BAD_SUBPROTOCOL = Close(4507, "no common subprotocol")
OUT_OF_ORDER = Close(4508, "message out of order")

CLOSES = (
    GOING_AWAY, TOO_SLOW, SILENT, BUS_LOST, TOKEN_EXPIRED, FULL,
    NOT_CONNECTED, MALFORMED_FRAME, MESSAGE_TOO_BIG, FLOOD, TOKEN_REFUSED, UNKNOWN_SHOW, BAD_SUBPROTOCOL,
    OUT_OF_ORDER,
)  # fmt: skip
