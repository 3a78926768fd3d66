"""`Metrics`: what a server counts of itself, in a registry of its own, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import Scope

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24)


class Metrics:
    """Counters of one application."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "pixtag_requests", "Requests answered", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "pixtag_request_seconds", "Seconds to answer", ["route"], registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self.in_flight = Gauge("pixtag_in_flight", "Requests being answered", registry=registry)
        self.suggested = Counter("pixtag_suggested", "Questions answered", registry=registry)
        self.photos = Histogram(
            "pixtag_batch_photos", "Photos of questions answered together", registry=registry,
            buckets=(1, 2, 4, 8, 16),
        )  # fmt: skip
        self.refused = Counter(
            "pixtag_too_busy", "Requests refused for want of room", registry=registry
        )

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count an answer, by the pattern of its path: paths themselves hold names."""
        route = getattr(scope.get("route"), "path_format", "none")
        self._requests.labels(scope["method"], route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self, revision: int | None) -> bytes:
        """Write them all in Prometheus' own format, with the store's revision where it is known."""
        if revision is None:
            return generate_latest(self._registry)
        known = CollectorRegistry()
        Gauge("pixtag_store_revision", "Last change", registry=known).set(revision)
        return generate_latest(self._registry) + generate_latest(known)
