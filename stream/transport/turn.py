"""Relays for viewers and publishers behind firewalls: the `Link` headers that tell them of STUN and TURN servers.

A TURN server such as coturn shares a secret with us (`use-auth-secret`, draft-uberti-behave-turn-rest-00): the user
name is the Unix time until which it is good and anything that tells the users apart, the password its HMAC-SHA1
under the secret. So nothing is asked or stored when a session is made, and what leaks expires by itself.

RFC 9725, section 4.6 has the form of the headers. A client allocates on the TURN server and calls us from there: to
the media port it is one address like any other.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass

from live.core.limits import TURN_CREDENTIAL_TTL_S


@dataclass(frozen=True, slots=True)
class IceServers:
    """`urls` are URIs of RFC 7064 and RFC 7065; `secret` is what the TURN servers among them share with us."""

    urls: tuple[str, ...] = ()
    secret: str = ""

    def links(self, label: str, now_s: int) -> list[str]:
        """The values of `Link` headers, one a server, with credentials that are good from the Unix time `now_s` on.

        `label` tells users apart in the TURN server's log and quotas; it must not be worth stealing.
        """
        username = f"{now_s + TURN_CREDENTIAL_TTL_S}:{label}"
        digest = hmac.digest(self.secret.encode(), username.encode(), hashlib.sha1)
        credential = base64.b64encode(digest).decode()
        access = f'; username={_quoted(username)}; credential={_quoted(credential)}; credential-type="password"'
        return [f'<{url}>; rel="ice-server"{access if url.startswith("turn") else ""}' for url in self.urls]


def _quoted(value: str) -> str:
    """A quoted-string of RFC 9110, section 5.6.4."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
