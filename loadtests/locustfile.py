"""Shoppers: people who join, read, chat, react, fill a cart, change their mind, pay, leave and come back.

    locust -f loadtests/locustfile.py --headless --users 50 --run-time 40s --host http://127.0.0.1:8000 --processes 2

Three in four come over the WebSocket as the watch page does, one over the HTTP API, where reactions go as commands by
POST, as they do from networks that break WebSockets. What the shop refuses for good
reasons ("sold out") is counted under a name of its own and is no failure; `outcomes.py` lists the reasons.
`SHOWCART_LOADTEST_SHOW` names the show, `SHOWCART_LOADTEST_PLAN` holds the scenario's `shoppers` as JSON.

Locust makes the standard library's threads and sockets cooperative (gevent); nothing here needs to know.
With `SHOWCART_LOADTEST_RESULT` set, that file holds the totals (`measures.Shopping`) of all processes at the end.

Shoppers wait for an answer before they think and go on, as people do: they have no schedule, and ask less while the
server stalls. Their times are therefore no measure of a stall. The swarm's and the video's are.
"""

import os
import random
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from locust import FastHttpUser, User, between, events
from locust.env import Environment
from locust.runners import WorkerRunner
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from live.core.codec import Malformed, decode, encode
from live.realtime.protocol import Command, Connect, Connected, Event, Notice, Refused, Reply, ServerMessage
from loadtests.measures import Action, Shopping
from loadtests.outcomes import PHRASES, REACTIONS, judged, problem, quantities, refusal, skus
from loadtests.scenario import Shoppers

SHOW = os.environ.get("SHOWCART_LOADTEST_SHOW", "demo")
PLAN = msgspec.json.decode(os.environ.get("SHOWCART_LOADTEST_PLAN", "{}"), type=Shoppers)
ANSWER_TIMEOUT_S = 20.0
PINNED_SHARE = 0.8  # of the adds are of the pinned product
_MESSAGES = list[ServerMessage]


class Shopper:
    """What a shopper knows and wants, however it talks to the shop."""

    abstract = True
    wait_time = between(PLAN.think_min_s, PLAN.think_max_s)
    tasks: ClassVar[Any] = {}

    token: str | None = None
    lineup: list[str]
    pinned: list[str]
    cart: dict[str, int]

    def on_start(self) -> None:
        self.lineup, self.pinned, self.cart = [], [], {}
        self.join()

    def on_stop(self) -> None:
        self.go()

    def join(self) -> None:
        """Come in, and learn what is on show."""
        raise NotImplementedError

    def go(self) -> None:
        """Leave without a word."""

    def read(self) -> None:
        """Look at what is there."""
        raise NotImplementedError

    def act(self, action: str, body: dict[str, Any]) -> None:
        """Do one of chat, react, add, change, remove, check_out."""
        raise NotImplementedError

    def chat(self) -> None:
        self.act("chat", {"text": random.choice(PHRASES)})

    def react(self) -> None:
        self.act("react", {"kind": random.choice(REACTIONS)})

    def add(self) -> None:
        shown = self.pinned if self.pinned and random.random() < PINNED_SHARE else self.lineup
        if shown:
            self.act("add", {"sku": random.choice(shown), "quantity": 1})
        else:
            self.read()

    def change(self) -> None:
        if not self.cart:
            return self.add()
        sku = random.choice(list(self.cart))
        if random.random() < 0.3:
            return self.act("remove", {"sku": sku})
        return self.act("change", {"sku": sku, "quantity": random.randint(1, 3)})

    def check_out(self) -> None:
        if not self.cart:
            return self.read()
        return self.act("check_out", {"name": "Load Shopper", "email": "shopper@example.com"})

    def leave(self) -> None:
        self.go()
        time.sleep(random.uniform(0.5, 2.0))
        self.join()


def weighted(shopper: type[Shopper]) -> dict[Callable[..., None], int]:
    """The scenario's weights for Locust."""
    weights = msgspec.structs.asdict(PLAN.weights)
    return {getattr(shopper, name): weight for name, weight in weights.items() if weight}


class SocketShopper(Shopper, User):
    """A shopper on the watch page's WebSocket."""

    abstract = False
    weight = 3
    commands: ClassVar[dict[str, str]] = {
        "chat": "chat.post", "react": "chat.react", "add": "cart.add", "change": "cart.change", "remove": "cart.remove",
        "check_out": "cart.checkout", "read": "cart.get",
    }  # fmt: skip
    socket: ClientConnection | None = None
    ids = 0

    def on_start(self) -> None:
        self.waiting: dict[str, Future[str | None]] = {}
        super().on_start()

    def join(self) -> None:
        self.measure("join" if self.token is None else "come back", self._join)

    def go(self) -> None:
        if self.socket is not None:
            self.socket.close(1001)
            self.socket = None

    def read(self) -> None:
        self.act("read", {})

    def act(self, action: str, body: dict[str, Any]) -> None:
        if self.socket is None:
            return self.join()
        return self.measure(action, lambda: self._command(action, body))

    def measure(self, action: str, call: Callable[[], str | None]) -> None:
        """Count one action; `call` gives the name of what went wrong."""
        start = time.perf_counter()
        name, failed = judged(action, error := call())
        self.environment.events.request.fire(
            request_type="WS", name=name, response_time=(time.perf_counter() - start) * 1000, response_length=0,
            exception=RuntimeError(error) if failed else None, context={},
        )  # fmt: skip

    def _join(self) -> str | None:
        url = f"{str(self.host).replace('http', 'ws', 1)}/ws/{SHOW}"
        try:
            self.socket = connect(
                url, subprotocols=[Subprotocol("showcart.json.v1")], compression=None, max_size=8 * 1024 * 1024,
                open_timeout=ANSWER_TIMEOUT_S,
            )  # fmt: skip
        except (OSError, WebSocketException) as error:
            return type(error).__name__
        threading.Thread(target=self._listen, args=(self.socket,), daemon=True).start()
        return self._ask(Connect(id="connect", token=self.token), "connect")

    def _command(self, action: str, body: dict[str, Any]) -> str | None:
        self.ids += 1
        id_ = str(self.ids)
        return self._ask(Command(id=id_, name=self.commands[action], data=body, key=uuid.uuid4().hex), id_)

    def _ask(self, message: Connect | Command, id_: str) -> str | None:
        answer: Future[str | None] = Future()
        self.waiting[id_] = answer
        try:
            if self.socket is None:
                return "closed"
            self.socket.send(encode(message, "json").decode())
            return answer.result(timeout=ANSWER_TIMEOUT_S)
        except ConnectionClosed:
            return "closed"
        except TimeoutError:
            return "no answer"
        finally:
            self.waiting.pop(id_, None)

    def _listen(self, socket: ClientConnection) -> None:
        """Take in what the server says until the socket closes."""
        try:
            for frame in socket:
                for message in decode(frame.encode() if isinstance(frame, str) else frame, "json", _MESSAGES):
                    self._hear(message)
        except (ConnectionClosed, Malformed):
            pass
        if self.socket is socket:
            self.socket = None
            for id_ in list(self.waiting):
                self._settle(id_, f"closed {socket.close_code}")

    def _hear(self, message: ServerMessage) -> None:
        if isinstance(message, Connected):
            self.token = message.token or self.token
            snapshot = message.snapshot or {}
            self.lineup = skus(snapshot.get("lineup")) or self.lineup
            self.pinned = skus([(snapshot.get("pin") or {}).get("product")])
            self.cart = quantities(message.personal.get("cart"))
            self._settle(message.id, None)
        elif isinstance(message, Reply):
            if "cart" in message.data:
                self.cart = quantities(message.data["cart"])
            elif "order" in message.data:
                self.cart = {}
            self._settle(message.id, None)
        elif isinstance(message, Refused):
            self._settle(message.id, problem(message.error))
        elif isinstance(message, Notice) and message.name == "cart.changed":
            self.cart = quantities(message.data.get("cart"))
        elif isinstance(message, Event) and message.name == "product.pinned":
            self.pinned = skus([message.data.get("product")])
        elif isinstance(message, Event) and message.name == "product.unpinned":
            self.pinned = []

    def _settle(self, id_: str, error: str | None) -> None:
        if (answer := self.waiting.pop(id_, None)) is not None:
            answer.set_result(error)


class ApiShopper(Shopper, FastHttpUser):
    """A shopper whose shop talks to the HTTP API."""

    abstract = False
    weight = 1
    network_timeout = connection_timeout = ANSWER_TIMEOUT_S

    def join(self) -> None:
        if self.token is None:
            guest = self._request("join", "POST", "/api/guests", {})
            self.token = guest.get("token")
        self.read()

    def read(self) -> None:
        show = self._request("read", "GET", f"/api/shows/{SHOW}")
        self.lineup = skus(show.get("lineup")) or self.lineup
        self.pinned = skus([(show.get("pin") or {}).get("product")])

    def act(self, action: str, body: dict[str, Any]) -> None:
        path = f"/api/shows/{SHOW}"
        sku = body.get("sku", "")
        method, path = {
            "chat": ("POST", f"{path}/chat"),
            "react": ("POST", f"{path}/commands"),
            "add": ("POST", f"{path}/cart/lines"),
            "change": ("PATCH", f"{path}/cart/lines/{sku}"),
            "remove": ("DELETE", f"{path}/cart/lines/{sku}"),
            "check_out": ("POST", f"{path}/checkout"),
        }[action]
        sent: dict[str, Any] | None = body
        if action == "change":
            sent = {"quantity": body["quantity"]}
        elif action == "remove":
            sent = None
        elif action == "react":
            sent = {"commands": [{"type": "command", "id": "react", "name": "chat.react", "data": body}]}
        answer = self._request(action, method, path, sent)
        if "cart" in answer:
            self.cart = quantities(answer["cart"])
        elif action == "check_out" and answer:
            self.cart = {}

    def _request(self, action: str, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object of the answer, {} when it is none; the outcome is counted."""
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method != "GET" else {}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        with self.client.request(
            method, path, name=action, headers=headers, json=body, catch_response=True
        ) as response:  # fmt: skip
            try:
                answer = response.json() if response.content else {}
            except ValueError:
                answer = {}
            status = response.status_code or 0
            error = refusal(answer) if 200 <= status < 300 else problem(answer, status)
            name, failed = judged(action, error)
            response.request_meta["name"] = name
            if failed:
                response.failure(RuntimeError(error))
            else:
                response.success()
        return answer if isinstance(answer, dict) and error is None else {}


SocketShopper.tasks = weighted(SocketShopper)
ApiShopper.tasks = weighted(ApiShopper)


def totals(environment: Environment) -> Shopping:
    """What Locust counted, of all its processes."""
    failures: Counter[str] = Counter()
    for error in environment.stats.errors.values():
        shown = re.fullmatch(r"\w+\('(.*)'\)", str(error.error))
        failures[shown[1] if shown else str(error.error)] += error.occurrences
    actions = [
        Action(
            name=entry.name, method="WS" if entry.method == "WS" else "HTTP",
            count=entry.num_requests, failures=entry.num_failures,
            p50_ms=entry.get_response_time_percentile(0.5), p99_ms=entry.get_response_time_percentile(0.99),
            max_ms=round(entry.max_response_time, 1),
        )
        for entry in sorted(environment.stats.entries.values(), key=lambda one: (one.name, one.method))
    ]  # fmt: skip
    whole = environment.stats.total
    p99_ms = whole.get_response_time_percentile(0.99) if whole.num_requests else None
    return Shopping(actions=actions, failures=dict(sorted(failures.items())), p99_ms=p99_ms)


def _write_at_the_end(environment: Any, runner: Any, **_: Any) -> None:
    """Locust's master writes what its workers counted; they themselves know only their own shoppers."""
    result = "" if isinstance(runner, WorkerRunner) else os.environ.get("SHOWCART_LOADTEST_RESULT", "")

    def write(**_: Any) -> None:
        if result:
            Path(result).write_bytes(msgspec.json.encode(totals(environment)))

    environment.events.quit.add_listener(write)


_init: Any = events.init  # Locust's hooks have no types
_init.add_listener(_write_at_the_end)
