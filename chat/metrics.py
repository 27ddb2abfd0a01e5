"""Prometheus figures of chat and reactions, read from plain integers when somebody scrapes."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from chat.counting import Reactions
from chat.service import Chat
from live.core.collector import counters


class ChatCollector(Collector):
    """See the module."""

    def __init__(self, chat: Chat, reactions: Reactions) -> None:
        self._chat = chat
        self._reactions = reactions

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The families; called by the registry."""
        text = "Messages written, by whether viewers were shown them"
        yield counters("showcart_chat_messages", text, "what", self._chat.posting.written)
        yield counters("showcart_reactions", "Reactions of viewers", "what", self._reactions.counted)
