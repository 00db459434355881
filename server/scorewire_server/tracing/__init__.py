"""Sends the traced calls of an engine to an OpenTelemetry collector, as OTLP over gRPC."""
