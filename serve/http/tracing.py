"""OpenTelemetry: a span a request, exported as OpenTelemetry's own variables say."""

import os

from flask import Flask

from runtime.optional import require

UNTRACED = "ping,livez,readyz,metrics"


def trace_requests(app: Flask) -> None:
    """Trace every request of an application but the probes.

    Raises:
        MissingDependency: the packages of the extra ``otel`` are not installed.
    """
    trace = require("opentelemetry.trace", "otel")
    sdk = require("opentelemetry.sdk.trace", "otel")
    export = require("opentelemetry.sdk.trace.export", "otel")
    flask = require("opentelemetry.instrumentation.flask", "otel")
    provider = sdk.TracerProvider()
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp") == "console":
        provider.add_span_processor(export.SimpleSpanProcessor(export.ConsoleSpanExporter()))
    else:
        otlp = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", "otel")
        provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    flask.FlaskInstrumentor().instrument_app(app, excluded_urls=UNTRACED)
