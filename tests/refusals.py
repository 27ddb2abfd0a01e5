"""The problem that a refused call must raise."""

import pytest

from live.core.errors import Kind, Problem


def refused(kind: Kind, field: str | None = None) -> "pytest.RaisesExc[Problem]":
    """For `with`: a problem of this kind is raised, about this field; None is any field."""
    return pytest.RaisesExc(Problem, check=lambda problem: problem.kind is kind and field in (None, problem.field))
