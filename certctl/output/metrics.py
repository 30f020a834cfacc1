"""How certificates and runs are, as metrics for Prometheus, in its text format.

Names after Prometheus' conventions: base units, and what is a time is one in seconds since 1970.
What is not known has no sample.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from certctl.errors import ConfigurationError
from certctl.models import RunHistory
from certctl.operations.overview import CertificateView
from certctl.version import VERSION

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Sample = float | None


def _seconds(moment: datetime | None) -> Sample:
    return None if moment is None else moment.timestamp()


_OF_CERTIFICATES: Mapping[str, tuple[str, Callable[[CertificateView], Sample]]] = {
    "certctl_certificate_not_before_timestamp_seconds": (
        "When the live version became valid.",
        lambda view: _seconds(view.live.not_before) if view.live else None,
    ),
    "certctl_certificate_not_after_timestamp_seconds": (
        "When the live version expires.",
        lambda view: _seconds(view.live.not_after) if view.live else None,
    ),
    "certctl_certificate_renewal_timestamp_seconds": (
        "When the certificate is or was due to be renewed.",
        lambda view: _seconds(view.renews_at),
    ),
    "certctl_certificate_renewal_failures": (
        "Attempts to renew that failed, in a row.",
        lambda view: None if view.problem else view.failures,
    ),
    "certctl_certificate_deployment_pending": (
        "1 where the version that is wanted is not deployed.",
        lambda view: None if view.problem else view.live is not None and not view.deployed,
    ),
    "certctl_certificate_deploy_failures": (
        "Deploys that failed, in a row.",
        lambda view: None if view.problem else view.deploy_failures,
    ),
    "certctl_certificate_revoked": (
        "1 where the live version is revoked.",
        lambda view: None if view.problem else view.state == "revoked",
    ),
    "certctl_certificate_readable": (
        "0 where what is kept of the certificate cannot be read.",
        lambda view: view.problem is None,
    ),
}

_OF_RUNS: Mapping[str, tuple[str, Callable[[RunHistory], Sample]]] = {
    "certctl_run_timestamp_seconds": (
        "When renew last ran by itself.",
        lambda history: _seconds(max(history.runs, default=None)),
    ),
    "certctl_run_success_timestamp_seconds": (
        "When a run of renew by itself last ended with exit status 0.",
        lambda history: _seconds(history.succeeded_at),
    ),
    "certctl_run_exit_status": (
        "The exit status of the last run of renew by itself.",
        lambda history: history.exit_status,
    ),
}


def metrics_text(views: Sequence[CertificateView], history: RunHistory) -> bytes:
    """Return all metrics in Prometheus' text format. Raises `ConfigurationError` where its client
    library is missing.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ConfigurationError(
            "metrics need the Python library prometheus-client, which is not installed here",
            hint=f"{sys.executable} -m pip install prometheus-client",
            code="metrics.library",
        ) from error
    registry = CollectorRegistry()
    registry.register(_Collector(views, history))
    return generate_latest(registry)


class _Collector:
    """What the library asks for metrics, once."""

    def __init__(self, views: Sequence[CertificateView], history: RunHistory) -> None:
        self._views = views
        self._history = history

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - optional

        info = GaugeMetricFamily("certctl_build_info", "certctl itself.", labels=["version"])
        info.add_metric([VERSION], 1)
        yield info
        yield GaugeMetricFamily(
            "certctl_certificates", "Certificates in the home directory.", value=len(self._views)
        )
        for name, (words, of_view) in _OF_CERTIFICATES.items():
            family = GaugeMetricFamily(name, words, labels=["name"])
            for view in self._views:
                if (value := of_view(view)) is not None:
                    family.add_metric([view.name], float(value))
            yield family
        for name, (words, of_history) in _OF_RUNS.items():
            if (value := of_history(self._history)) is not None:
                yield GaugeMetricFamily(name, words, value=float(value))
