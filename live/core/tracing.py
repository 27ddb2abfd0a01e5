"""Traces from click to screen with OpenTelemetry, for those who have a collector; else nothing of it is imported.

    command ─┬─ lane wait
             └─ lane commit ── publish ──(bus)──┬─ deliver ─┬─ batch wait     on each worker with viewers
                                                │           └─ write
                                                └─ deliver …

The place of a command in its trace is a context variable, so whatever is done for it finds it: tasks begin with a copy.
Over the bus it travels as `traceparent` (W3C Trace Context, level 1), in the payloads of sampled commands alone. What
is done after the reply is not the command's: `active` no longer finds it.

The standard's variables configure the export (`OTEL_EXPORTER_OTLP_ENDPOINT` and so on) and the sampler
(`OTEL_TRACES_SAMPLER`); without a sampler SAMPLED of all commands are traced. A command that is not costs its root, and
one that is untraced because nothing is configured costs looking up a variable that is None.
"""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from live.core.errors import Kind, Problem
from live.core.limits import TRACES_END_S

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan

log = logging.getLogger(__name__)

SAMPLED = 0.01
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_here: ContextVar["Span | None"] = ContextVar("span", default=None)


class Span:
    """A sampled span that has begun. Times are Unix nanoseconds; None: now."""

    __slots__ = ("_otel", "_root", "_tracing", "over")

    def __init__(self, tracing: "Tracing", otel: "OtelSpan", root: "Span | None" = None) -> None:
        self._tracing = tracing
        self._otel = otel
        self._root = root or self
        self.over = False

    @property
    def alive(self) -> bool:
        """Whether the root of this process's part of the trace has not ended."""
        return not self._root.over

    @property
    def traceparent(self) -> str:
        """The span's place for others (W3C Trace Context)."""
        context = self._otel.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def child(self, name: str, *, began_ns: int | None = None) -> "Span":
        """A span below this one."""
        return Span(self._tracing, self._tracing.start(name, self._otel, began_ns), self._root)

    def end(self, *, ended_ns: int | None = None, **attributes: str | int | float) -> None:
        """The span is over; may be called twice."""
        if not self.over:
            self.over = True
            self._otel.set_attributes(attributes)
            self._otel.end(ended_ns)


def active() -> Span | None:
    """The span of what is being done; None: it is not traced."""
    span = _here.get()
    return span if span is not None and span.alive else None


def enter(span: Span | None) -> None:
    """From now on this task does what `span` stands for."""
    _here.set(span)


class Tracing:
    """Begins spans and hands them to OpenTelemetry."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("showcart")
        self._trace = trace
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    @asynccontextmanager
    async def open(cls, wanted: bool, worker: int) -> AsyncIterator["Tracing | None"]:
        """As the environment says, until the block ends; None: nobody wants traces.

        `wanted`: the settings ask for it. Raises `Problem` unavailable when they do and the extra is not installed.
        """
        if not wanted and not any(os.environ.get(name) for name in _ENDPOINTS):
            yield None
            return
        try:
            provider = await asyncio.to_thread(_provider, worker)  # it reads files and starts a thread
        except ImportError as error:
            detail = f"{error}. Install the extra for traces: pip install 'showcart[tracing]'."
            if wanted:
                raise Problem(Kind.unavailable, detail) from error
            log.warning("there will be no traces: %s", detail)
            yield None
            return
        try:
            yield cls(provider)
        finally:
            # It sends what is left, for as long as its collector takes: not on the loop, and not for ever.
            await asyncio.to_thread(_end, provider)

    def begin(self, name: str, traceparent: str = "") -> Span | None:
        """A span that is the first of its trace, or the first here; None: it is not sampled."""
        context = self._propagator.extract({"traceparent": traceparent}) if traceparent else None
        otel = self._tracer.start_span(name, context)
        return Span(self, otel) if otel.is_recording() else None

    @contextmanager
    def root(self, name: str) -> Iterator[Span | None]:
        """What is done in the block is one trace."""
        span = self.begin(name)
        token = _here.set(span)
        try:
            yield span
        finally:
            _here.reset(token)
            if span is not None:
                span.end()

    def start(self, name: str, parent: "OtelSpan", began_ns: int | None) -> "OtelSpan":
        """A span below `parent`."""
        return self._tracer.start_span(name, self._trace.set_span_in_context(parent), start_time=began_ns)


def _end(provider: "TracerProvider") -> None:
    ending = threading.Thread(target=provider.shutdown, name="end of traces", daemon=True)
    ending.start()
    ending.join(TRACES_END_S)


def _provider(worker: int) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    attributes: dict[str, Any] = {"showcart.worker": worker}
    if "OTEL_SERVICE_NAME" not in os.environ:
        attributes["service.name"] = "showcart"
    chosen = None if os.environ.get("OTEL_TRACES_SAMPLER") else ParentBasedTraceIdRatio(SAMPLED)
    provider = TracerProvider(sampler=chosen, resource=Resource.create(attributes), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
