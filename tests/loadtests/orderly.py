"""A locustfile of shoppers who do everything once, in an order, and then end the run."""

from collections.abc import Callable
from typing import Any

from locust import SequentialTaskSet
from locust.exception import StopUser

from loadtests import locustfile

_left: list[object] = []


def _step(act: Callable[[Any], None]) -> Callable[[SequentialTaskSet], None]:
    return lambda visit: act(visit.user)


def _end(shopper: Any) -> None:
    _left.append(shopper)
    if len(_left) == 2:
        shopper.environment.runner.quit()
    raise StopUser


class Visit(SequentialTaskSet):
    """Of a shopper who has joined."""

    tasks = [  # noqa: RUF012 (as Locust has it)
        _step(lambda shopper: shopper.read()),
        _step(lambda shopper: shopper.chat()),
        _step(lambda shopper: shopper.react()),
        _step(lambda shopper: shopper.act("add", {"sku": shopper.lineup[0], "quantity": 1})),
        _step(lambda shopper: shopper.act("change", {"sku": shopper.lineup[0], "quantity": 2})),
        _step(lambda shopper: shopper.act("remove", {"sku": shopper.lineup[0]})),
        _step(lambda shopper: shopper.act("add", {"sku": shopper.lineup[0], "quantity": 1})),
        _step(lambda shopper: shopper.check_out()),
        _step(lambda shopper: shopper.leave()),
        _step(_end),
    ]


class OrderlySocket(locustfile.SocketShopper):
    """One of them on the socket ..."""

    fixed_count = 1


class OrderlyApi(locustfile.ApiShopper):
    """... and one on the API."""

    fixed_count = 1


OrderlySocket.tasks = [Visit]
OrderlyApi.tasks = [Visit]
