"""JSON and MessagePack behind two functions each; typed values are checked by msgspec.

Encoding is orjson (JSON) and msgpack (MessagePack) on plain values, because those are the fastest well-kept
encoders; decoding into a typed struct is msgspec, because it checks while it decodes.
"""

import hashlib
from functools import cache
from typing import Any, Literal, TypeVar

import msgpack
import msgspec
import orjson

T = TypeVar("T")
Encoding = Literal["json", "msgpack"]


class Malformed(ValueError):
    """The bytes are not what the type says; `field` is the path of the first wrong member, "" for the whole."""

    def __init__(self, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


def plain(value: Any) -> Any:
    """`value` (structs, enums, tuples, …) as dicts, lists, strings, numbers and None."""
    return msgspec.to_builtins(value, str_keys=True)


def encode(value: Any, encoding: Encoding) -> bytes:
    """`value` as bytes in one of the two encodings of the wire."""
    if encoding == "json":
        return orjson.dumps(plain(value))
    packed: bytes = msgpack.packb(plain(value), use_bin_type=True)
    return packed


def digest(*members: Any) -> str:
    """What is stored of a request, to tell it from others; raises as msgpack for what it cannot encode."""
    return hashlib.sha256(encode(members, "msgpack")).hexdigest()


def decode(data: bytes, encoding: Encoding, type_: type[T]) -> T:
    """The value of type `type_` that `data` holds.

    Raises `Malformed` when the bytes do not parse or a member has the wrong type.
    """
    try:
        decoded: T = _decoder(encoding, type_).decode(data)  # type: ignore[arg-type]  # a type can be hashed
        return decoded
    except msgspec.ValidationError as error:
        raise _malformed(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None


def convert(value: Any, type_: type[T]) -> T:
    """A plain `value` (already decoded) as `type_`; raises `Malformed`."""
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise _malformed(error) from None


@cache
def _decoder(encoding: Encoding, type_: type[Any]) -> msgspec.json.Decoder[Any] | msgspec.msgpack.Decoder[Any]:
    """Made once: finding out anew what a union holds took ten times as long as decoding a command of it."""
    return msgspec.json.Decoder(type_) if encoding == "json" else msgspec.msgpack.Decoder(type_)


def _malformed(error: msgspec.ValidationError) -> Malformed:
    detail, _, path = str(error).partition(" - at `")
    return Malformed(detail, path.rstrip("`").removeprefix("$").removeprefix("."))
