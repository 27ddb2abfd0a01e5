"""Who may write now, and how long the others wait."""

import pytest

from chat import moderation
from chat.moderation import Mute, Refusal, Standing
from live.core.auth import Principal, Role
from live.core.errors import Kind, Problem
from live.core.limits import SLOW_MODE_S_MAX, TIMEOUT_S_MAX

NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize(
    ("standing", "slow_s", "expected"),
    [
        (Standing(), 0, None),
        (Standing(), 30, None),
        (Standing(posted_at_ms=NOW_MS), 0, None),
        (Standing(posted_at_ms=NOW_MS - 29_999), 30, Refusal(Kind.slow_mode, 1)),
        (Standing(posted_at_ms=NOW_MS - 30_000), 30, None),
        (Standing(mute=Mute.ban, reason="spam"), 0, Refusal(Kind.banned, None, "spam")),
        (Standing(mute=Mute.ban, posted_at_ms=NOW_MS), 30, Refusal(Kind.banned, None)),
        (Standing(mute=Mute.timeout, muted_until_ms=NOW_MS + 5), 0, Refusal(Kind.timed_out, 5)),
        (Standing(mute=Mute.timeout, muted_until_ms=NOW_MS), 0, None),
        (Standing(mute=Mute.timeout, muted_until_ms=NOW_MS - 1, posted_at_ms=NOW_MS), 1, Refusal(Kind.slow_mode, 1000)),
    ],
)
def test_the_decision(standing: Standing, slow_s: int, expected: Refusal | None) -> None:
    assert moderation.refusal(standing, slow_s, NOW_MS) == expected


@pytest.mark.parametrize(
    ("refusal", "status", "retry_after_s"),
    [
        (Refusal(Kind.banned, None, "spam"), 403, None),
        (Refusal(Kind.timed_out, 1001, "calm down"), 403, 2),
        (Refusal(Kind.slow_mode, 1000), 429, 1),
        (moderation.rate_refusal(0.2), 429, 1),
        (moderation.rate_refusal(2.5), 429, 3),
    ],
)
def test_a_refusal_says_when_to_come_back(refusal: Refusal, status: int, retry_after_s: int | None) -> None:
    problem = refusal.problem()
    assert (problem.kind.status, problem.retry_after_s) == (status, retry_after_s)
    assert problem.detail == (refusal.reason or refusal.kind.title)


def test_within_the_rate_nobody_is_refused() -> None:
    assert moderation.rate_refusal(0.0) is None


@pytest.mark.parametrize("role", Role)
def test_moderators_and_above_are_exempt_in_their_show_only(role: Role) -> None:
    above = role is not Role.viewer
    assert moderation.is_exempt(Principal("p", role, "demo", "P"), "demo") is above
    assert moderation.is_exempt(Principal("p", role, "*", "P"), "demo") is above
    assert not moderation.is_exempt(Principal("p", role, "other", "P"), "demo")


@pytest.mark.parametrize("role", Role)
def test_only_viewers_can_be_muted(role: Role) -> None:
    if role is Role.viewer:
        moderation.check_mutable(role)
        return
    with pytest.raises(Problem) as refused:
        moderation.check_mutable(role)
    assert refused.value.kind is Kind.role_forbidden


@pytest.mark.parametrize("seconds", [1, TIMEOUT_S_MAX])
def test_a_timeout_ends(seconds: int) -> None:
    standing = moderation.timeout(seconds, NOW_MS, "spam")
    assert standing.muted_at(NOW_MS + seconds * 1000 - 1) is Mute.timeout
    assert standing.muted_at(NOW_MS + seconds * 1000) is Mute.none
    assert standing.reason == "spam"


@pytest.mark.parametrize("seconds", [0, -1, TIMEOUT_S_MAX + 1, 10**9])
def test_a_timeout_of_another_length_is_refused(seconds: int) -> None:
    with pytest.raises(Problem) as refused:
        moderation.timeout(seconds, NOW_MS, "")
    assert (refused.value.kind, refused.value.field) == (Kind.invalid_field, "seconds")


def test_slow_mode_has_bounds() -> None:
    assert [moderation.check_slow(seconds) for seconds in (0, SLOW_MODE_S_MAX)] == [0, SLOW_MODE_S_MAX]
    for seconds in (-1, SLOW_MODE_S_MAX + 1):
        with pytest.raises(Problem) as refused:
            moderation.check_slow(seconds)
        assert (refused.value.kind, refused.value.field) == (Kind.invalid_field, "seconds")
