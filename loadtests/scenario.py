"""An event to rehearse, as a TOML file: who comes and when, what they do, and what would be too bad.

`scenarios/` holds ready ones. Unknown members are refused, so that a typing error does not pass for a default.
"""

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
Weight = Annotated[int, Meta(ge=0, le=1000)]


class ScenarioError(ValueError):
    """The scenario cannot be used; the message names the file and the member."""


class Viewers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """People who watch: `count` of them join evenly within `ramp_s`."""

    count: Annotated[int, Meta(ge=1, le=20_000)]
    ramp_s: Seconds = 5.0
    encoding: Literal["json", "msgpack"] = "json"


class Chat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Messages a second in the whole show, sent on a fixed schedule; their way to every screen is measured."""

    rate_per_s: Annotated[float, Meta(gt=0, le=1000)] = 2.0

    @property
    def speakers(self) -> int:
        """How many viewers it takes to write that much."""
        return max(1, int(-(-self.rate_per_s * SPEAKER_INTERVAL_S // 1)))


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often a shopper does what, relative to each other."""

    read: Weight = 10
    chat: Weight = 2
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
    refused_max: Count | None = None
    failures_max: Count | None = None
    server_cpu_mean_percent: Annotated[float, Meta(gt=0)] | None = None
    memory_per_viewer_kb: Annotated[float, Meta(gt=0)] | None = None


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One event. `drain_s` is how long the last message may take to reach everybody after `duration_s`."""

    title: str
    show: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,63}$")] = "demo"
    duration_s: Annotated[float, Meta(ge=1, le=24 * 3600)]
    drain_s: Annotated[float, Meta(ge=0.5, le=60)] = 5.0
    viewers: Viewers
    chat: Chat = Chat()
    shoppers: Shoppers = Shoppers()
    drop: Drop | None = None
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
        raise _error(error, source) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{source}: {error}") from None
    return check(scenario, source)


def resized(
    scenario: Scenario, *, viewers: int | None = None, shoppers: int | None = None, duration_s: float | None = None
) -> Scenario:
    """`scenario` with other sizes (None: as it is); ramps and the drop move with a shorter end.

    Raises `ScenarioError` when the sizes cannot be used.
    """
    plain = msgspec.to_builtins(scenario)
    if duration_s is not None:
        ratio = min(1.0, duration_s / scenario.duration_s)
        plain["duration_s"] = duration_s
        plain["viewers"]["ramp_s"] *= ratio
        plain["shoppers"]["ramp_s"] *= ratio
        if plain["drop"]:
            plain["drop"]["at_s"] *= ratio
    if viewers is not None:
        plain["viewers"]["count"] = viewers
    if shoppers is not None:
        plain["shoppers"]["count"] = shoppers
    try:
        return check(msgspec.convert(plain, Scenario), "sizes")
    except msgspec.ValidationError as error:
        raise _error(error, "sizes") from None


def check(scenario: Scenario, source: str) -> Scenario:
    """`scenario`; raises `ScenarioError` when its members do not fit together."""
    wrong = ""
    if scenario.viewers.ramp_s >= scenario.duration_s:
        wrong = "viewers.ramp_s: must be shorter than duration_s"
    elif scenario.shoppers.count and scenario.shoppers.ramp_s >= scenario.duration_s:
        wrong = "shoppers.ramp_s: must be shorter than duration_s"
    elif scenario.chat.speakers > scenario.viewers.count:
        wrong = f"chat.rate_per_s: so much chat needs at least {scenario.chat.speakers} viewers"
    elif scenario.shoppers.think_min_s > scenario.shoppers.think_max_s:
        wrong = "shoppers.think_min_s: must not be above think_max_s"
    elif scenario.shoppers.count and not any(msgspec.structs.astuple(scenario.shoppers.weights)):
        wrong = "shoppers.weights: at least one must be above 0"
    elif scenario.drop is not None and scenario.drop.at_s >= scenario.duration_s:
        wrong = "drop.at_s: must be before duration_s"
    if wrong:
        raise ScenarioError(f"{source}: {wrong}")
    return scenario


def _error(error: msgspec.ValidationError, source: str) -> ScenarioError:
    detail, _, path = str(error).partition(" - at `$.")
    field = f"{path.rstrip('`')}: " if path else ""
    return ScenarioError(f"{source}: {field}{detail[:1].lower()}{detail[1:]}")
