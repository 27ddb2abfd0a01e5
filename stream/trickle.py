"""What a PATCH of a session means: trickled candidates, or an ICE restart (RFC 9725, section 4.4; RFC 8840)."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from live.core.errors import Kind, Problem
from stream.connections import Connection
from stream.transport.paths import Credentials
from stream.wire import sdp


class Restarted(NamedTuple):
    """The ICE session after a restart: its strong ETag, and our fragment of SDP."""

    etag: str
    fragment: str


def patched(
    connection: Connection, if_match: str | None, text: str, local: Callable[[Credentials], sdp.Local]
) -> Restarted | None:
    """The restart that `text` asks for; None when it only brings candidates.

    Those are not needed, because an ICE-lite end never calls out. `local` describes our end with new credentials.
    Raises `Problem` precondition_required, precondition_failed, sdp_malformed, or ice_restart_unsupported; the
    session goes on in any case, and after a restart too until the client has come by the new credentials.
    """
    if if_match is None:
        raise Problem(Kind.precondition_required, field="If-Match")
    if not connection.session.matches(if_match):
        raise Problem(Kind.precondition_failed, field="If-Match")
    fragment = sdp.parse_fragment(text)
    offer = connection.offer
    same = (fragment.ufrag in (None, offer.ufrag), fragment.password in (None, offer.password))
    if all(same):
        return None
    if any(same) or fragment.ufrag is None or fragment.password is None:
        raise Problem(Kind.ice_restart_unsupported, "A restart changes ice-ufrag and ice-pwd, both.")
    connection.offer = replace(offer, ufrag=fragment.ufrag, password=fragment.password)
    connection.session.etag = new_etag()
    credentials = connection.peer.restart(Credentials(fragment.ufrag, fragment.password))
    answer = sdp.write_fragment(connection.offer, local(credentials))
    return Restarted(connection.session.etag, answer)


def new_etag() -> str:
    """A strong entity tag (RFC 9110, section 8.8.3) that names an ICE session."""
    return f'"{secrets.token_hex(8)}"'
