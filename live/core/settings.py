"""The environment, read once into one frozen object; a wrong value is refused by the variable's name."""

import difflib
import ipaddress
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from live.core.addresses import networks
from live.core.ids import secret_token
from live.core.limits import HANDOFF_TTL_S, SECRET_CHARS_MIN, SIGN_ON_AGE_S_MAX, SIGN_ON_TTL_S_MAX, TOKEN_TTL_S
from live.core.servers import check_url

PREFIX = "SHOWCART_"
# Not settings, but ours: what a supervisor tells its workers, and the rehearsals and tests their processes.
_OTHERS = tuple(PREFIX + each for each in ("SIBLINGS", "LOADTEST_", "TEST_", "UPDATE_IMAGES"))
_PORT_MAX = 65535
_Port = Annotated[int, Meta(ge=0, le=_PORT_MAX)]
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.IGNORECASE)
_LISTS = {
    "public_ips",
    "trusted_proxies",
    "origins",
    "picture_origins",
    "turn_urls",
    "webhook_networks",
    "handoff_secrets",
}
_HOST = r"([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?"
_MAIL = re.compile(r"smtps?://([^\s@/]+@)?([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?/?(\?starttls=no)?", re.IGNORECASE)
_MAIL_FROM = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9.-]{1,253}", re.IGNORECASE)
_HANDOFF_URL = re.compile(rf"https://{_HOST}(/[^\s#]*)?", re.IGNORECASE)
_LOOPBACK_URL = re.compile(r"http://(localhost|127\.[0-9.]+|\[::1\])(:[0-9]{1,5})?(/[^\s#]*)?", re.IGNORECASE)
_SIGNING = re.compile(r"whsec_(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_SIGNING_CHARS_MIN = len("whsec_") + 32  # base64 of 24 bytes, as Standard Webhooks has it
_ICE_SERVER = re.compile(rf"stuns?:{_HOST}|turns?:{_HOST}(\?transport=(udp|tcp))?", re.IGNORECASE)


class SettingsError(ValueError):
    """A variable has a value that cannot be used; the message names it."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker needs to know. Each field is the variable `SHOWCART_<FIELD>`; lists are separated by commas."""

    host: str = "127.0.0.1"
    port: _Port = 8000
    media_port: _Port | None = None  # None: the same number as `port`, for UDP
    public_ips: tuple[str, ...] = ()  # what viewers reach this machine at; () means `host`
    turn_urls: tuple[str, ...] = ()  # STUN and TURN servers that clients are told of (RFC 7064, RFC 7065)
    turn_secret: str = ""  # what the TURN servers share with us (coturn: use-auth-secret)
    dscp: Annotated[int, Meta(ge=0, le=63)] = 0  # of what the media port sends; 0: not marked
    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    database_url: str = ""  # "": SQLite in the data folder
    redis_url: str = ""  # "": a private Valkey in the data folder
    data_dir: Path = Path("var")
    secret: str = ""  # "": made and kept in the data folder, on loopback only
    trusted_proxies: tuple[str, ...] = ()  # addresses and ranges whose word on the client's address counts
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"  # that they set
    sockets_per_address: Annotated[int, Meta(ge=0)] = 1000  # of one client to one worker; 0: no bound
    origins: tuple[str, ...] = ()  # foreign origins whose pages may connect
    picture_origins: tuple[str, ...] = ()  # where product pictures may come from besides this server
    hold_ttl_s: Annotated[int, Meta(ge=1, le=86400)] = 600
    tax_bp: Annotated[int, Meta(ge=0, le=10_000)] = 1900  # in prices of goods that have no rate of their own: 19 %
    webhook_networks: tuple[str, ...] = ()  # where messages may go besides the public Internet; http on loopback
    webhook_kept_days: Annotated[int, Meta(ge=1, le=365)] = 14  # what was sent, and what is not sent by then
    payment: Literal["on_pickup", "rehearsal"] = "on_pickup"  # who takes the money; a rehearsal takes none
    capture: Literal["on_shipping", "at_once"] = "on_shipping"  # when what was set aside is taken
    handoff_url: str = ""  # the merchant's own check-out, which carts are handed to; "": to none
    handoff_secrets: tuple[str, ...] = ()  # whsec_…, shared with it; the first signs links, all of them are believed
    handoff_ttl_s: Annotated[int, Meta(ge=60, le=86400)] = HANDOFF_TTL_S  # for it to report what was sold
    sign_on_keys_url: str = ""  # of the JWK set of the shop that signs its shoppers in; "": none does
    sign_on_keys_file: str = ""  # instead of the URL
    sign_on_issuer: str = ""  # the claim iss of its tokens
    sign_on_audience: str = ""  # what their claim aud must hold
    sign_on_age_s: Annotated[int, Meta(ge=1, le=SIGN_ON_AGE_S_MAX)] = 600  # that a token may be old
    sign_on_once: bool = False  # a token is good once, by its claim jti
    sign_on_segments: str = "segments"  # the claim with what prices may depend on
    sign_on_name: str = "nickname"  # the claim with the name that the chat shows
    sign_on_ttl_s: Annotated[int, Meta(ge=60, le=SIGN_ON_TTL_S_MAX)] = TOKEN_TTL_S  # that who was signed in stays so
    mail_url: str = ""  # smtps://user:password@host; "": the folder `mail` in the data folder
    mail_from: str = "shop@localhost"  # the address that letters to buyers come from
    tracing: bool = False  # traces by OpenTelemetry; OTEL_EXPORTER_OTLP_ENDPOINT asks for them too
    demo: bool = False
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def udp_port(self) -> int:
        """The media port of the first worker."""
        return self.port if self.media_port is None else self.media_port

    @property
    def effective_database_url(self) -> str:
        """`database_url`, or the SQLite file in the data folder."""
        return self.database_url or f"sqlite:///{self.data_dir / 'showcart.db'}"


_CHOICES: dict[str, tuple[str, ...]] = {
    name: get_args(kind) for name, kind in get_type_hints(Settings).items() if get_origin(kind) is Literal
}


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of `environ` (None: the process's environment).

    Raises `SettingsError`, naming the variable, when a value cannot be used.
    """
    source = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for field in Settings.__struct_fields__:
        if raw := source.get(PREFIX + field.upper(), "").strip():
            values[field] = [part.strip() for part in raw.split(",") if part.strip()] if field in _LISTS else raw
    for name, choices in _CHOICES.items():
        if name in values:
            values[name] = values[name].lower()
            if values[name] not in choices:
                raise SettingsError(f"{PREFIX}{name.upper()}: {values[name]!r} is none of {', '.join(choices)}")
    try:
        settings = msgspec.convert(values, Settings, strict=False, dec_hook=_path)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at `$.")
        name = PREFIX + path.rstrip("`").partition("[")[0].upper()
        raise SettingsError(f"{name}: {detail[:1].lower()}{detail[1:]}") from None
    return _checked(settings)


def unknown(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of `environ` that look like settings and are none, each with the one most like it, or ""."""
    known = [field.upper() for field in Settings.__struct_fields__]
    found = {}
    for name in sorted(environ):
        rest = name.upper().removeprefix(PREFIX)
        if rest != name.upper() and name.removeprefix(PREFIX) not in known and not name.startswith(_OTHERS):
            found[name] = "".join(PREFIX + like for like in difflib.get_close_matches(rest, known, n=1))
    return found


def environment(settings: Settings) -> dict[str, str]:
    """The variables that `load` makes these settings of, for a process that shall have the same."""
    variables = {}
    for name, value in zip(Settings.__struct_fields__, msgspec.structs.astuple(settings), strict=True):
        if isinstance(value, tuple):
            variables[PREFIX + name.upper()] = ",".join(value)
        elif value is not None:
            variables[PREFIX + name.upper()] = str(value)
    return variables


def _path(type_: type, value: object) -> object:
    assert type_ is Path
    return Path(str(value))


def _checked(settings: Settings) -> Settings:
    """The rules that span fields; fills in the secret on loopback."""
    _check_addresses(settings)
    _check_ports(settings)
    for name, origins in (("ORIGINS", settings.origins), ("PICTURE_ORIGINS", settings.picture_origins)):
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise SettingsError(f"{PREFIX}{name}: {origin!r} is not an origin such as https://shop.example")
    _check_ice_servers(settings)
    scheme = settings.database_url.partition(":")[0]
    if scheme and scheme.partition("+")[0] not in ("sqlite", "postgresql", "postgres"):
        raise SettingsError("SHOWCART_DATABASE_URL: only sqlite:///… and postgresql://… are supported")
    _check_redis_url(settings.redis_url)
    _check_mail(settings)
    _check_sign_on(settings)
    _check_handoff(settings)
    if settings.demo and not settings.loopback:
        raise SettingsError("SHOWCART_HOST: the demo has a well-known token and runs on loopback only")
    if not settings.secret:
        if not settings.loopback:
            raise SettingsError("SHOWCART_SECRET: must be set when SHOWCART_HOST is not a loopback address")
        return msgspec.structs.replace(settings, secret=_kept_secret(settings.data_dir))
    if len(settings.secret) < SECRET_CHARS_MIN:
        raise SettingsError(f"SHOWCART_SECRET: must have at least {SECRET_CHARS_MIN} characters")
    return settings


def _check_addresses(settings: Settings) -> None:
    try:
        _ = settings.loopback
    except ValueError:
        raise SettingsError(f"SHOWCART_HOST: {settings.host!r} is not an IP address") from None
    for address in settings.public_ips:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise SettingsError(f"SHOWCART_PUBLIC_IPS: {address!r} is not an IP address") from None
    try:
        trusted = networks(settings.trusted_proxies)
    except ValueError as error:
        raise SettingsError(f"SHOWCART_TRUSTED_PROXIES: {error}") from None
    try:
        networks(settings.webhook_networks)
    except ValueError as error:
        raise SettingsError(f"SHOWCART_WEBHOOK_NETWORKS: {error}") from None
    for each in trusted:
        if each.prefixlen == 0:  # everybody could give any address as theirs, and no bound would hold them
            raise SettingsError(f"SHOWCART_TRUSTED_PROXIES: {each} is everybody; name the proxies' own networks")


def _check_ports(settings: Settings) -> None:
    """Each worker has a media port, one after the other; 0 is any free one."""
    last = settings.udp_port + settings.workers - 1
    if settings.udp_port and last > _PORT_MAX:
        name = "PORT" if settings.media_port is None else "MEDIA_PORT"
        raise SettingsError(
            f"{PREFIX}{name}: {settings.udp_port} leaves no room for the media ports of "
            f"{settings.workers} workers, the last would be {last}; at most {_PORT_MAX - settings.workers + 1}"
        )


def _check_redis_url(url: str) -> None:
    if not url:
        return
    try:
        check_url(url)
    except ValueError as error:
        raise SettingsError(f"SHOWCART_REDIS_URL: {error}") from None


def _check_mail(settings: Settings) -> None:
    if settings.mail_url and not _MAIL.fullmatch(settings.mail_url):
        raise SettingsError("SHOWCART_MAIL_URL: must be such as smtps://user:password@mail.example:465")
    if not _MAIL_FROM.fullmatch(settings.mail_from):
        raise SettingsError(f"SHOWCART_MAIL_FROM: {settings.mail_from!r} is no e-mail address")
    if settings.payment == "rehearsal" and not settings.loopback:
        raise SettingsError("SHOWCART_PAYMENT: a rehearsal takes no money, and is for loopback only")
    if settings.payment == "rehearsal" and settings.workers > 1:
        raise SettingsError("SHOWCART_PAYMENT: a rehearsal forgets with its process what it did; run one worker")


def _check_handoff(settings: Settings) -> None:
    url = settings.handoff_url
    if url and not _HANDOFF_URL.fullmatch(url) and not _LOOPBACK_URL.fullmatch(url):
        raise SettingsError(f"SHOWCART_HANDOFF_URL: {url!r} is not a URL such as https://shop.example/checkout")
    if url and not settings.handoff_secrets:
        raise SettingsError("SHOWCART_HANDOFF_SECRETS: must be set when SHOWCART_HANDOFF_URL is")
    for secret in settings.handoff_secrets:  # which nobody should read in a log
        if len(secret) < _SIGNING_CHARS_MIN or not _SIGNING.fullmatch(secret):
            raise SettingsError("SHOWCART_HANDOFF_SECRETS: each is whsec_ and at least 24 random bytes in base64")


def _check_sign_on(settings: Settings) -> None:
    url, path = settings.sign_on_keys_url, settings.sign_on_keys_file
    if url and path:
        raise SettingsError("SHOWCART_SIGN_ON_KEYS_FILE: is of no use beside SHOWCART_SIGN_ON_KEYS_URL")
    if url and not _HANDOFF_URL.fullmatch(url) and not _LOOPBACK_URL.fullmatch(url):
        raise SettingsError(f"SHOWCART_SIGN_ON_KEYS_URL: {url!r} is not a URL such as https://shop.example/jwks.json")
    if path and not Path(path).is_file():
        raise SettingsError(f"SHOWCART_SIGN_ON_KEYS_FILE: {path!r} is no file")
    for name, value in (("ISSUER", settings.sign_on_issuer), ("AUDIENCE", settings.sign_on_audience)):
        if (url or path) and not value:
            raise SettingsError(f"SHOWCART_SIGN_ON_{name}: must be set where a shop signs its shoppers in")


def _check_ice_servers(settings: Settings) -> None:
    for url in settings.turn_urls:
        if not _ICE_SERVER.fullmatch(url):
            raise SettingsError(
                f"SHOWCART_TURN_URLS: {url!r} is not a URI such as turn:turn.example:3478?transport=udp"
            )
    relays = any(url.lower().startswith("turn") for url in settings.turn_urls)
    if relays and not settings.turn_secret:
        raise SettingsError("SHOWCART_TURN_SECRET: must be set to what the TURN servers of SHOWCART_TURN_URLS have")
    if settings.turn_secret and not relays:
        raise SettingsError("SHOWCART_TURN_URLS: SHOWCART_TURN_SECRET is of no use without a turn: or turns: URI")


def _kept_secret(folder: Path) -> str:
    """The secret of this data folder, made on first use, readable by its owner only."""
    path = folder / "secret"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            # Linked into place once it is whole: two processes that start together must agree on one.
            descriptor, made = tempfile.mkstemp(dir=folder)
            with os.fdopen(descriptor, "w") as file:
                file.write(secret_token(32))
            with suppress(FileExistsError):
                os.link(made, path)
            os.unlink(made)
        secret = path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"SHOWCART_DATA_DIR: {error.filename}: {error.strerror}") from None
    if len(secret) < SECRET_CHARS_MIN:
        raise SettingsError(f"SHOWCART_DATA_DIR: {path} holds no secret; delete it, and sign-ins start anew")
    return secret
