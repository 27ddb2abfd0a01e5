"""An event to rehearse, as a TOML file: who comes and when, what they do, and what would be too bad.

`scenarios/` holds ready ones. Unknown members are refused, so that a typing error does not pass for a default.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

SCENARIOS = Path(__file__).with_name("scenarios")
SCENARIO_BYTES_MAX = 64 * 1024
SPEAKER_INTERVAL_S = 2.0  # a viewer writes at most this often, which is below the chat's own limit

Seconds = Annotated[float, Meta(ge=0, le=24 * 3600)]
Milliseconds = Annotated[float, Meta(gt=0, le=600_000)]
Count = Annotated[int, Meta(ge=0, le=10**9)]
VIEWERS_MAX = 100_000
TEXT_BYTES_MAX = 900  # a chat takes 1,000, and 280 characters
Rate = Annotated[float, Meta(gt=0, le=1000)]
Share = Annotated[float, Meta(gt=0, le=1)]
Weight = Annotated[int, Meta(ge=0, le=1000)]


class ScenarioError(ValueError):
    """The scenario cannot be used; the message names the file and the member."""


class Wave(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From `at_s` on, within `within_s`: so many more viewers join, evenly, or so many who are there leave."""

    at_s: Seconds
    joins: Annotated[int, Meta(ge=0, le=VIEWERS_MAX)] = 0
    leaves: Annotated[int, Meta(ge=0, le=VIEWERS_MAX)] = 0
    within_s: Seconds = 0.0


class Viewers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """People who watch: `count` of them join evenly within `ramp_s`, then those of each wave."""

    count: Annotated[int, Meta(ge=1, le=VIEWERS_MAX)]
    ramp_s: Seconds = 5.0
    encoding: Literal["json", "msgpack"] = "json"
    wave: tuple[Wave, ...] = ()

    @property
    def total(self) -> int:
        """Everybody who comes at any time."""
        return self.count + sum(wave.joins for wave in self.wave)


class Burst(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From `at_s` on, for `for_s`, the chat runs at `rate_per_s`."""

    at_s: Seconds
    for_s: Seconds
    rate_per_s: Rate


class Chat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Messages a second in the whole show, sent on a fixed schedule; their way to every screen is measured.

    `size_bytes` is that of each message's text; 0: no more than it takes to measure.
    """

    rate_per_s: Rate = 2.0
    burst: tuple[Burst, ...] = ()
    size_bytes: Annotated[int, Meta(ge=0, le=TEXT_BYTES_MAX)] = 0

    @property
    def speakers(self) -> int:
        """How many viewers it takes to write that much."""
        peak = max(self.rate_per_s, *(burst.rate_per_s for burst in self.burst)) if self.burst else self.rate_per_s
        return max(1, math.ceil(peak * SPEAKER_INTERVAL_S))


class Media(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The show's video: one publisher, and `viewers` who receive it over WebRTC, joining evenly within `ramp_s`.

    `bitrate_kbps` is that of the best of the `layers`; each other one has half of the next. A keyframe comes every
    `keyframe_s` and when it is asked for; 0: only then, as browsers do.
    """

    viewers: Annotated[int, Meta(ge=0, le=2000)] = 0
    ramp_s: Seconds = 5.0
    bitrate_kbps: Annotated[int, Meta(ge=50, le=20_000)] = 2500
    fps: Annotated[int, Meta(ge=1, le=60)] = 30
    layers: Annotated[int, Meta(ge=1, le=3)] = 1
    keyframe_s: Seconds = 0.0


class Reconnect(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="reconnect", tag_field="kind"):
    """The generator cuts the sockets of a share of the viewers at once, and they come back as browsers do."""

    at_s: Seconds
    share: Share = 1.0


class Slow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="slow", tag_field="kind"):
    """A share of the viewers (speakers excepted) stops reading for `for_s`; from then on they are not timed."""

    at_s: Seconds
    for_s: Seconds
    share: Share = 0.1


class ValkeyRestart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="valkey-restart", tag_field="kind"):
    """The own server's Valkey is killed; the server starts it again."""

    at_s: Seconds


class ValkeyPause(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="valkey-pause", tag_field="kind"):
    """The own server's Valkey stands still for `for_s`."""

    at_s: Seconds
    for_s: Seconds


class WorkerKill(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="worker-kill", tag_field="kind"):
    """One of the own server's workers is killed; the server replaces it."""

    at_s: Seconds


ViewerFault = Reconnect | Slow
ServerFault = ValkeyRestart | ValkeyPause | WorkerKill
Fault = ViewerFault | ServerFault


def kind_of(fault: Fault) -> str:
    """What the scenario calls this fault."""
    return str(type(fault).__struct_config__.tag)


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a shopper does what, relative to each other."""

    read: Weight = 10
    chat: Weight = 2
    react: Weight = 4
    add: Weight = 4
    change: Weight = 2
    check_out: Weight = 1
    leave: Weight = 1


class Shoppers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """People who act: each waits between `think_min_s` and `think_max_s`, then does something by weight."""

    count: Annotated[int, Meta(ge=0, le=5000)] = 0
    ramp_s: Seconds = 5.0
    think_min_s: Seconds = 0.5
    think_max_s: Seconds = 2.0
    weights: Weights = Weights()


class Drop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At `at_s` the host pins `product` (an id; "" for the first of the lineup), and the shoppers run."""

    at_s: Seconds
    product: str = ""


class Thresholds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the event must not exceed. None: not judged. A figure that was not measured breaks its threshold."""

    join_p99_ms: Milliseconds | None = None
    return_p99_ms: Milliseconds | None = None  # from the loss of a socket to being connected again
    delivery_p50_ms: Milliseconds | None = None
    delivery_p99_ms: Milliseconds | None = None
    delivery_p999_ms: Milliseconds | None = None
    acknowledged_p99_ms: Milliseconds | None = None
    publisher_late_p99_ms: Milliseconds | None = None
    shopper_p99_ms: Milliseconds | None = None
    lost_max: Count | None = None
    duplicates_max: Count | None = None
    gaps_max: Count | None = None
    closes_max: Count | None = None
    not_joined_max: Count | None = 0
    not_back_max: Count | None = 0  # viewers who should be there at the end and are not
    refused_max: Count | None = None
    failures_max: Count | None = None
    server_lag_p99_ms: Milliseconds | None = None  # of the workers' event loops, in the worst second
    server_cpu_mean_percent: Annotated[float, Meta(gt=0)] | None = None
    memory_per_viewer_kb: Annotated[float, Meta(gt=0)] | None = None
    media_first_frame_p95_ms: Milliseconds | None = None
    media_delay_p95_ms: Milliseconds | None = None
    media_lost_max: Count | None = None
    media_freezes_max: Count | None = None
    media_not_joined_max: Count | None = 0
    media_not_back_max: Count | None = 0


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One event. `drain_s` is how long the last message may take to reach everybody after `duration_s`."""

    title: str
    show: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,63}$")] = "demo"
    duration_s: Annotated[float, Meta(ge=1, le=24 * 3600)]
    drain_s: Annotated[float, Meta(ge=0.5, le=60)] = 5.0
    viewers: Viewers
    chat: Chat = Chat()
    media: Media = Media()
    shoppers: Shoppers = Shoppers()
    drop: Drop | None = None
    fault: tuple[Fault, ...] = ()
    thresholds: Thresholds = Thresholds()


def names() -> list[str]:
    """The scenarios that come with the product."""
    return sorted(path.stem for path in SCENARIOS.glob("*.toml"))


def load(name_or_path: str) -> Scenario:
    """The ready scenario of that name, or the one in that file; raises `ScenarioError`."""
    ready = SCENARIOS / f"{name_or_path}.toml"
    path = ready if name_or_path in names() else Path(name_or_path)
    try:
        with path.open("rb") as file:
            content = file.read(SCENARIO_BYTES_MAX + 1)
    except OSError as error:
        known = ", ".join(names())
        raise ScenarioError(f"{name_or_path}: {error.strerror}; ready scenarios are {known}") from None
    if len(content) > SCENARIO_BYTES_MAX:
        raise ScenarioError(f"{name_or_path}: is larger than {SCENARIO_BYTES_MAX} bytes")
    return parse(content, name_or_path)


def parse(content: bytes, source: str) -> Scenario:
    """The scenario that TOML `content` describes; `source` names it in a `ScenarioError`."""
    try:
        scenario = msgspec.toml.decode(content, type=Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{source}: {problem(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{source}: {error}") from None
    return check(scenario, source)


def check(scenario: Scenario, source: str) -> Scenario:
    """`scenario`; raises `ScenarioError` with the first member that does not fit the others."""
    for wrong in _misfits(scenario):
        raise ScenarioError(f"{source}: {wrong}")
    return scenario


def _misfits(scenario: Scenario) -> Iterator[str]:
    viewers, shoppers, end_s = scenario.viewers, scenario.shoppers, scenario.duration_s
    for name, ramp_s, count in (
        ("viewers", viewers.ramp_s, viewers.count),
        ("shoppers", shoppers.ramp_s, shoppers.count),
        ("media", scenario.media.ramp_s, scenario.media.viewers),
    ):
        if count and ramp_s >= end_s:
            yield f"{name}.ramp_s: must be shorter than duration_s"
    if scenario.chat.speakers > viewers.count:
        yield f"chat.rate_per_s: so much chat needs at least {scenario.chat.speakers} viewers"
    present = viewers.count
    for index, wave in enumerate(viewers.wave):
        name = f"viewers.wave[{index}]"
        if bool(wave.joins) == bool(wave.leaves):
            yield f"{name}: either joins or leaves must be above 0"
        if wave.at_s + wave.within_s >= end_s:
            yield f"{name}: must be over before duration_s"
        present += wave.joins - wave.leaves
        if present < scenario.chat.speakers:
            yield f"{name}.leaves: those who write stay; {scenario.chat.speakers} viewers are needed"
    if viewers.total > VIEWERS_MAX:
        yield f"viewers: more than {VIEWERS_MAX} in all"
    if shoppers.think_min_s > shoppers.think_max_s:
        yield "shoppers.think_min_s: must not be above think_max_s"
    if shoppers.count and not any(msgspec.structs.astuple(shoppers.weights)):
        yield "shoppers.weights: at least one must be above 0"
    if scenario.drop is not None and scenario.drop.at_s >= end_s:
        yield "drop.at_s: must be before duration_s"
    for name, spans in (("chat.burst", scenario.chat.burst), ("fault", scenario.fault)):
        for index, one in enumerate(spans):
            if one.at_s + getattr(one, "for_s", 0.0) >= end_s:
                yield f"{name}[{index}]: must be over before duration_s"


def problem(error: msgspec.ValidationError) -> str:
    """The member that is wrong, and why."""
    detail, _, path = str(error).partition(" - at `$.")
    field = f"{path.rstrip('`')}: " if path else ""
    return f"{field}{detail[:1].lower()}{detail[1:]}"
