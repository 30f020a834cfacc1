"""Timeouts, the network, logs and notifications."""

from __future__ import annotations

from certctl.model.urls import canonical_proxy
from certctl.rules.option import Kind, Option

RUNS_OPTIONS: tuple[Option, ...] = (
    Option(
        "lock_timeout",
        Kind.SECONDS,
        60.0,
        "How long to wait for another certctl process that is working on the same certificate.",
        brief="How long to wait for a lock.",
        flag="--lock-timeout",
    ),
    Option(
        "order_timeout",
        Kind.SECONDS,
        600.0,
        "How long an order may take, from the first request to the downloaded certificate.",
        brief="How long an order may take.",
        flag="--order-timeout",
        minimum=1,
    ),
    Option(
        "proxy",
        Kind.TEXT,
        None,
        "Proxy for requests to CAs, to the DNS providers acme-dns and httpreq, and for the "
        "heartbeat; `direct` for none. This machine, and the hosts in the variable no_proxy, are "
        "reached directly. Default: the variables https_proxy, http_proxy and all_proxy.",
        metavar="URL",
        canonical=canonical_proxy,
    ),
    Option(
        "proxy_credentials_file",
        Kind.PATH,
        None,
        "File with USER:PASSWORD for the proxy. Other users must not be able to read it.",
    ),
    Option(
        "jobs",
        Kind.INTEGER,
        8,
        "Number of certificates to order in parallel, except those waiting for DNS or for the CA.",
        flag="--jobs",
        minimum=1,
        maximum=64,
    ),
    Option(
        "random_delay",
        Kind.SECONDS,
        0.0,
        "Wait a random time, up to this, before a `renew` that does not run on a terminal.",
        flag="--random-delay",
    ),
    Option(
        "log_file",
        Kind.PATH,
        None,
        "Append a log of all events to this file; - is standard error.",
        flag="--log-file",
    ),
    Option(
        "on_failure_hook",
        Kind.TEXT,
        None,
        "Command to run after a scheduled `renew` (one without a terminal) that failed.",
    ),
    Option(
        "heartbeat",
        Kind.TEXT,
        None,
        "URL to request after each scheduled `renew` that succeeded, for a monitoring service.",
        metavar="URL",
    ),
    Option(
        "heartbeat_method",
        Kind.CHOICE,
        "get",
        "HTTP method of the heartbeat request.",
        choices=("get", "post"),
    ),
    Option(
        "heartbeat_ca_bundle",
        Kind.PATH,
        None,
        "PEM file of root certificates to trust for the heartbeat. Default: the public ones and "
        "those that this system trusts.",
    ),
    Option(
        "alert_urls_file",
        Kind.PATH,
        None,
        "File with Apprise URLs, one per line, that are notified of failures by chat or mail. "
        "Other users must not be able to read it.",
    ),
    Option(
        "keep_versions",
        Kind.INTEGER,
        5,
        "Number of versions of a certificate to keep in the archive.",
        minimum=2,
    ),
)
