"""What Prometheus gets to see. Labels come from our own tables, never from a request: their number is fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flavor.follower import Counts, Status

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class RequestMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "flavor_requests", "Answers by route and status.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "flavor_request_seconds", "Time to answer, by route.", ["route"], registry=registry, buckets=_BUCKETS
        )

    def count(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class _ModelCollector(Collector):
    """Reads the follower at each scrape, so that it cannot be out of date."""

    def __init__(self, model: str, stage: str, status: Callable[[], Status], counts: Counts) -> None:
        self._labels = {"model": model, "stage": stage}
        self._status = status
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        status, counts = self._status(), self._counts
        served = status.model
        info = GaugeMetricFamily(
            "flavor_model_info", "1 for the version that serves.", labels=["model", "stage", "version", "run_id"]
        )
        if served:
            info.add_metric([*self._labels.values(), served.version.version, served.version.run_id], 1)
        yield info
        gauges = {
            "flavor_model_ready": ("1 while a model serves.", served is not None),
            "flavor_model_words": ("Ingredients of the model that serves.", len(served) if served else 0),
            "flavor_model_loaded_timestamp_seconds": ("When it was loaded.", served.loaded_at if served else 0),
            "flavor_load_seconds": ("How long the last successful load took.", counts.last_load_seconds),
            "flavor_tracking_up": ("1 while the tracking server answers.", bool(status.tracking.reachable)),
            "flavor_tracking_checked_timestamp_seconds": ("The last attempt to ask it.", status.tracking.checked_at),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value=float(value))
        loads = CounterMetricFamily("flavor_loads", "Loads by how they ended.", labels=["result"])
        for result in ("served", "refused", "unavailable"):
            loads.add_metric([result], getattr(counts, result))
        yield loads


def make_registry(model: str, stage: str, status: Callable[[], Status], counts: Counts) -> CollectorRegistry:
    disable_created_metrics()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(_ModelCollector(model, stage, status, counts))
    return registry
