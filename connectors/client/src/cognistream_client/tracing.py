"""The trace that the calling code is part of, when OpenTelemetry is installed and a span is current."""

from __future__ import annotations

try:
    from opentelemetry.trace import get_current_span
except ImportError:

    def traceparent() -> bytes | None:
        """None: nobody traces."""
        return None

else:

    def traceparent() -> bytes | None:
        """The header of W3C Trace Context for the current span, None when there is none."""
        context = get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return b"00-%032x-%016x-%02x" % (context.trace_id, context.span_id, context.trace_flags)
