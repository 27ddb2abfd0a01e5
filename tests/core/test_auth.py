"""Tokens and roles."""

import pytest

from live.core.auth import Principal, Role, Tokens, bearer, hash_stream_key
from live.core.clock import ManualClock
from live.core.errors import Kind, Problem
from live.core.limits import VIEWER_ID_CHARS_MAX

SECRET = "0123456789abcdef"
HOST = Principal(subject="h1", role=Role.host, show="demo", name="Ada")


def _refused(kind: Kind) -> "pytest.RaisesExc[Problem]":
    return pytest.RaisesExc(Problem, check=lambda problem: problem.kind is kind)


def test_a_signed_token_comes_back_as_its_bearer(clock: ManualClock) -> None:
    tokens = Tokens(SECRET, clock)
    assert tokens.verify(tokens.sign(HOST, 60)) == HOST


def test_a_token_expires(clock: ManualClock) -> None:
    tokens = Tokens(SECRET, clock)
    token = tokens.sign(HOST, 60)
    clock.advance(64)
    tokens.verify(token)
    clock.advance(2)
    with _refused(Kind.token_expired):
        tokens.verify(token)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "demo", "ä", "x" * 5000, "eyJhbGciOiJub25lIn0.e30."])
def test_garbage_is_not_a_token(clock: ManualClock, token: str) -> None:
    with _refused(Kind.token_invalid):
        Tokens(SECRET, clock).verify(token)


def test_another_secret_signs_nothing_here(clock: ManualClock) -> None:
    forged = Tokens("fedcba9876543210", clock).sign(HOST, 60)
    with _refused(Kind.token_invalid):
        Tokens(SECRET, clock).verify(forged)


def test_an_altered_token_is_refused(clock: ManualClock) -> None:
    tokens = Tokens(SECRET, clock)
    header, _, signature = tokens.sign(HOST, 60).split(".")
    _, other, _ = tokens.sign(Principal("h1", Role.ops, "*", "Ada"), 60).split(".")
    with _refused(Kind.token_invalid):
        tokens.verify(f"{header}.{other}.{signature}")


def test_the_demo_token_hosts_the_demo_only(clock: ManualClock) -> None:
    principal = Tokens(SECRET, clock, demo_show="demo").verify("demo")
    principal.require(Role.host, "demo")
    with _refused(Kind.show_forbidden):
        principal.require(Role.host, "gala")
    with _refused(Kind.role_forbidden):
        principal.require(Role.ops, "demo")


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("needed", list(Role))
def test_each_role_may_do_what_the_roles_before_it_may(role: Role, needed: Role) -> None:
    principal = Principal("x", role, "*", "X")
    assert principal.may(needed, "any") is (list(Role).index(role) >= list(Role).index(needed))


@pytest.mark.parametrize("header", [None, "", "Basic abc", "Bearer", "Bearer   "])
def test_no_bearer_is_a_missing_token(header: str | None) -> None:
    with _refused(Kind.token_missing):
        bearer(header)


def test_the_scheme_is_case_insensitive() -> None:
    assert bearer("bearer  abc ") == "abc"


def test_stream_keys_are_kept_as_a_hash() -> None:
    assert hash_stream_key("key") != hash_stream_key("kez")
    assert "key" not in hash_stream_key("key")


@pytest.mark.parametrize("subject", ["", "a\x00b", "line\nbreak", "x" * (VIEWER_ID_CHARS_MAX + 1)])
def test_a_subject_that_no_store_can_hold_is_refused(clock: ManualClock, subject: str) -> None:
    tokens = Tokens(SECRET, clock)
    with _refused(Kind.token_invalid):
        tokens.verify(tokens.sign(Principal(subject, Role.viewer, "*", "Ada"), 60))
    longest = "é" * VIEWER_ID_CHARS_MAX
    assert tokens.verify(tokens.sign(Principal(longest, Role.viewer, "*", "Ada"), 60)).subject == longest
