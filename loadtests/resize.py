"""The same event in another size, for a smaller machine or a shorter evening."""

from typing import Any

import msgspec

from loadtests.scenario import Scenario, ScenarioError, check, problem

_FLAGS = {
    "viewers.count": "--viewers",
    "shoppers.count": "--shoppers",
    "media.viewers": "--media-viewers",
    "duration_s": "--duration",
}
_TIMES = ("at_s", "for_s", "within_s", "ramp_s")


def resized(
    scenario: Scenario, *, viewers: int | None = None, shoppers: int | None = None, media_viewers: int | None = None,
    duration_s: float | None = None,
) -> Scenario:  # fmt: skip
    """`scenario` with other sizes (None: as it is): waves shrink with the viewers, all times with a shorter end.

    `viewers` are all that come at any time. Raises `ScenarioError` when the sizes cannot be used.
    """
    plain: dict[str, Any] = msgspec.to_builtins(scenario)
    if duration_s is not None:
        _shorten(plain, min(1.0, duration_s / scenario.duration_s))
        plain["duration_s"] = duration_s
    if viewers is not None:
        ratio = viewers / scenario.viewers.total
        for wave in plain["viewers"]["wave"]:
            wave["joins"], wave["leaves"] = (_scaled(wave[name], ratio) for name in ("joins", "leaves"))
        plain["viewers"]["count"] = viewers - sum(wave["joins"] for wave in plain["viewers"]["wave"])
    if shoppers is not None:
        plain["shoppers"]["count"] = shoppers
    if media_viewers is not None:
        plain["media"]["viewers"] = media_viewers
    try:
        return check(msgspec.convert(plain, Scenario), "sizes")
    except msgspec.ValidationError as error:
        member, _, wrong = problem(error).partition(": ")
        raise ScenarioError(f"{_FLAGS.get(member, f'sizes: {member}')}: {wrong}") from None


def _scaled(count: int, ratio: float) -> int:
    """A part of a whole that shrinks: never to nothing, and rounded so that the rest is not less than its share."""
    return max(1, int(count * ratio)) if count else 0


def _shorten(value: Any, ratio: float) -> None:
    """Bring all times in `value` forward."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name in _TIMES:
                value[name] = member * ratio
            else:
                _shorten(member, ratio)
    elif isinstance(value, list | tuple):
        for member in value:
            _shorten(member, ratio)
