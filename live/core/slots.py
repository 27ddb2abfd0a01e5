"""Which server has which channel in a cluster: hash slots and the replies that tell who owns them.

A key's slot is CRC16/XMODEM of its hash tag, modulo 16384 (Redis Cluster specification, "Hash tags"). All keys of a
show and its channel have the tag `{show}`, so that one server has them all.
"""

import binascii
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

SLOTS = 16384
CLUSTER_SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
_PORT = 6379


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class View(NamedTuple):
    """Who owns what, as one server of the cluster sees it.

    `epoch` is the cluster's current epoch, which every failover and nearly every move of a slot counts up; `owners`
    the primary of each slot that has one; `addresses` all servers, replicas too.
    """

    epoch: int
    owners: Mapping[int, Address]
    addresses: frozenset[Address]


def slot_of(key: bytes) -> int:
    """The slot of `key` or of the channel named so."""
    _, brace, rest = key.partition(b"{")
    tag, closing, _ = rest.partition(b"}")
    return binascii.crc_hqx(tag if brace and closing and tag else key, 0) % SLOTS


def seeds(url: str) -> tuple[list[Address], str]:
    """The servers that a cluster's URL names, and the URL of one of them with `{}` in the place of its address.

    `redis+cluster://user:password@host:port,host:port?option=value`; `rediss+cluster://` is the same over TLS.
    Raises `ValueError` when it is not such a URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in CLUSTER_SCHEMES:
        raise ValueError("the scheme is not redis+cluster:// or rediss+cluster://")
    if "://" in f"{parts.netloc}{parts.path}":
        raise ValueError("the scheme stands once, at the beginning: redis+cluster://host:port,host:port")
    if parts.path not in ("", "/", "/0"):
        raise ValueError("a cluster has no numbered databases")
    user, at, hosts = parts.netloc.rpartition("@")
    addresses = []
    for host in hosts.split(","):
        single = urlsplit(f"//{host}")
        if not single.hostname or single.path or single.username is not None:
            raise ValueError(f"{host!r} is not host:port")
        addresses.append(Address(single.hostname, single.port or _PORT))
    template = f"{CLUSTER_SCHEMES[parts.scheme]}://{_literal(user + at)}{{}}/0"
    return addresses, f"{template}?{_literal(parts.query)}" if parts.query else template


def view(info: bytes, slots: Sequence[Any], asked: Address) -> View:
    """What `CLUSTER INFO` and `CLUSTER SLOTS` of the server at `asked` say; raises `ValueError` when they say nothing.

    A server names others by what it is configured to (`cluster-preferred-endpoint-type`): an address, a host name, or
    nothing, which means: by the name that it was itself asked under.
    """
    fields = dict(line.partition(b":")[::2] for line in info.split())
    owners: dict[int, Address] = {}
    addresses: set[Address] = set()
    for first, last, primary, *replicas in slots:
        owner = _address(primary, asked)
        owners.update(dict.fromkeys(range(first, last + 1), owner))
        addresses.update((owner, *(_address(replica, asked) for replica in replicas)))
    if not owners:
        raise ValueError("no server of the cluster has slots")
    return View(int(fields.get(b"cluster_current_epoch", b"0")), owners, frozenset(addresses))


def _address(node: Sequence[Any], asked: Address) -> Address:
    host, port, *more = node
    if host in (None, b"", b"?"):
        metadata = more[1] if len(more) > 1 else []
        named = dict(zip(metadata[::2], metadata[1::2], strict=False))
        host = named.get(b"ip", b"")
    return Address(host.decode() if host else asked.host, port)


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
