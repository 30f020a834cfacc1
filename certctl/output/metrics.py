"""Metrics of certificates and runs in Prometheus' text format.

Names follow Prometheus' conventions: base units, and times in seconds since 1970. A value that is
not known has no sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from certctl.engine.rows import CertificateView
from certctl.model.errors import ConfigurationError
from certctl.model.run import RunHistory
from certctl.system.installation import install_command
from certctl.version import VERSION

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Sample = float | None


def _seconds(moment: datetime | None) -> Sample:
    return None if moment is None else moment.timestamp()


_CERTIFICATE_METRICS: Mapping[str, tuple[str, Callable[[CertificateView], Sample]]] = {
    "certctl_certificate_not_before_timestamp_seconds": (
        "When the live version became valid.",
        lambda view: _seconds(view.live.not_before) if view.live else None,
    ),
    "certctl_certificate_not_after_timestamp_seconds": (
        "When the live version expires.",
        lambda view: _seconds(view.live.not_after) if view.live else None,
    ),
    "certctl_certificate_renewal_timestamp_seconds": (
        "When the certificate is due, or was due, to be renewed.",
        lambda view: _seconds(view.renews_at),
    ),
    "certctl_certificate_renewal_failures": (
        "Consecutive failed attempts to renew the certificate.",
        lambda view: None if view.problem else view.failures,
    ),
    "certctl_certificate_deployment_pending": (
        "1 if the version that should be live is not deployed yet.",
        lambda view: None if view.problem else view.live is not None and not view.deployed,
    ),
    "certctl_certificate_waiting_until_timestamp_seconds": (
        "When the window opens that an order or a deployment of the certificate waits for.",
        lambda view: _seconds(view.waits.until) if view.waits else None,
    ),
    "certctl_certificate_deploy_failures": (
        "Consecutive failed deployments.",
        lambda view: None if view.problem else view.deploy_failures,
    ),
    "certctl_certificate_revoked": (
        "1 if the live version is revoked.",
        lambda view: None if view.problem else view.state == "revoked",
    ),
    "certctl_certificate_damaged": (
        "1 if files of the live version are missing or damaged.",
        lambda view: None if view.problem else view.damage is not None,
    ),
    "certctl_certificate_fallback_ca": (
        "1 if a CA issued the certificate that is not the first of its CAs.",
        lambda view: view.fallback if view.live else None,
    ),
    "certctl_certificate_readable": (
        "0 if the files of the certificate cannot be read.",
        lambda view: view.problem is None,
    ),
}

_RUN_METRICS: Mapping[str, tuple[str, Callable[[RunHistory], Sample]]] = {
    "certctl_run_timestamp_seconds": (
        "When the last scheduled run of renew started.",
        lambda history: _seconds(max(history.runs, default=None)),
    ),
    "certctl_run_success_timestamp_seconds": (
        "When a scheduled run of renew last ended with exit status 0.",
        lambda history: _seconds(history.succeeded_at),
    ),
    "certctl_run_exit_status": (
        "The exit status of the last scheduled run of renew.",
        lambda history: history.exit_status,
    ),
}


def metrics_text(views: Sequence[CertificateView], history: RunHistory) -> bytes:
    """Return all metrics in Prometheus' text format. Raises `ConfigurationError` if the client
    library is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ConfigurationError(
            "metrics need the Python library prometheus-client, which is not installed",
            hint=f"Install it: {install_command('prometheus-client')}",
            code="metrics.library",
        ) from error
    registry = CollectorRegistry()
    registry.register(_Collector(views, history))
    return generate_latest(registry)


_LABELS = ("name", "ca", "key_type", "issuer")
"""The labels of what is measured of a certificate."""


def _labels(view: CertificateView) -> list[str]:
    """Return the values of the labels, "" for what is not known. They change with a renewal at
    most.
    """
    return [view.name, view.ca, view.key_type or "", view.live.issuer if view.live else ""]


class _Collector:
    """Provides the metrics to the library."""

    def __init__(self, views: Sequence[CertificateView], history: RunHistory) -> None:
        self._views = views
        self._history = history

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - optional

        info = GaugeMetricFamily(
            "certctl_build_info", "The version of certctl.", labels=["version"]
        )
        info.add_metric([VERSION], 1)
        yield info
        yield GaugeMetricFamily(
            "certctl_certificates", "Certificates in the home directory.", value=len(self._views)
        )
        for name, (text, of_view) in _CERTIFICATE_METRICS.items():
            family = GaugeMetricFamily(name, text, labels=_LABELS)
            for view in self._views:
                if (value := of_view(view)) is not None:
                    family.add_metric(_labels(view), float(value))
            yield family
        for name, (text, of_history) in _RUN_METRICS.items():
            if (value := of_history(self._history)) is not None:
                yield GaugeMetricFamily(name, text, value=float(value))
