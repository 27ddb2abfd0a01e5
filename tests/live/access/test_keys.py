"""The form of service keys, and what may be asked for."""

import pytest

from live.access.keys import check_overlap, check_scopes, check_ttl, digest, is_key, prefix_of
from live.core.auth import SCOPES
from live.core.errors import Problem
from live.core.limits import SERVICE_KEY_OVERLAP_S_MAX, SERVICE_KEY_TTL_S_MAX, SERVICE_KEY_TTL_S_MIN

_KEY = "sck_" + "aB3_-" * 8 + "xyz"


def test_what_a_key_looks_like() -> None:
    assert is_key(_KEY) and prefix_of(_KEY) == "sck_aB3_-aB3"
    assert not any(map(is_key, ("", "sck_", _KEY + "x", _KEY[:-1], _KEY[:-1] + "é", _KEY + "\n", "SCK_" + _KEY[4:])))
    assert len(digest(_KEY)) == 64
    assert digest("a", "bc") != digest("ab", "c")
    assert digest("\ud800"), "what is no Unicode has a digest, too"


def test_scopes_are_known_sorted_and_some() -> None:
    assert check_scopes(["shows:read", "carts:read", "shows:read"]) == ("carts:read", "shows:read")
    assert check_scopes(list(SCOPES)) == tuple(sorted(SCOPES))
    for scopes, field in ((["shows:read", "*"], "scopes[1]"), ([], "scopes")):
        with pytest.raises(Problem) as caught:
            check_scopes(scopes)
        assert caught.value.field == field


def test_times_have_bounds() -> None:
    for good in (None, SERVICE_KEY_TTL_S_MIN, SERVICE_KEY_TTL_S_MAX):
        check_ttl(good)
    check_overlap(0)
    check_overlap(SERVICE_KEY_OVERLAP_S_MAX)
    for check, bad in (
        (check_ttl, SERVICE_KEY_TTL_S_MIN - 1),
        (check_ttl, SERVICE_KEY_TTL_S_MAX + 1),
        (check_overlap, -1),
        (check_overlap, SERVICE_KEY_OVERLAP_S_MAX + 1),
    ):
        with pytest.raises(Problem, match="invalid_field"):
            check(bad)
