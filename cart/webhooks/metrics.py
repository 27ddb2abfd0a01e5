"""Prometheus figures of webhooks, read from plain integers when somebody scrapes."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from cart.webhooks.sender import Figures
from live.core.collector import Family, counters


class WebhookCollector(Collector):
    """See the module. What waits is the same on every worker; what was sent is each one's own."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Family]:
        figures = self._figures
        outcomes = {"delivered": figures.delivered, "failed": figures.failed}
        yield counters("showcart_webhook_tries", "Messages that were sent to an endpoint.", "outcome", outcomes)
        yield CounterMetricFamily("showcart_webhook_dead", "Messages that nobody tries any more.", figures.dead)
        yield CounterMetricFamily("showcart_webhook_disabled", "Endpoints that were given up.", figures.disabled)
        yield GaugeMetricFamily("showcart_webhook_sending", "Messages under way.", figures.sending)
        yield GaugeMetricFamily("showcart_webhook_pending", "Messages that wait for an endpoint.", figures.pending)
        yield GaugeMetricFamily(
            "showcart_webhook_oldest_seconds", "How long the oldest of them has waited.", figures.oldest_ms / 1000
        )
