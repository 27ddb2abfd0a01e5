"""How shows sell, over HTTP: `/api/shows/{show}/revenue`."""

from starlette.requests import Request

from cart.insight.report import Revenue
from cart.insight.service import Insight
from live.core.auth import Role
from live.core.errors import Kind
from live.core.rest import Operation


def operations(insight: Insight) -> list[Operation]:
    """The HTTP operations of how shows sell."""

    async def revenue(request: Request) -> Revenue:
        """By what was on screen when it was put into the cart; every cent of the show's orders is in one row."""
        return await insight.revenue(request.path_params["show"])

    return [
        Operation("GET", "/api/shows/{show}/revenue", revenue, "Read what each pin sold", result=Revenue,
                  role=Role.host, scope="reports:read", tag="commerce", errors=(Kind.unknown_show,)),
    ]  # fmt: skip
