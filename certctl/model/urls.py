"""Rules for URLs that users give: proxies, and passwords in URLs."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

from certctl.model.errors import ConfigurationError

DIRECT = "direct"
"""The proxy setting that ignores proxies in the environment."""

_DEFAULT_PORTS = {"http": 80, "https": 443}


def canonical_proxy(value: object) -> str:
    """Return the URL of a proxy in its normal form, such as `http://proxy.example:3128`, or
    `direct`. Raises `ConfigurationError`, which never contains a password.
    """
    text = value.strip() if isinstance(value, str) else ""
    if text == DIRECT:
        return text
    if "@" in text:
        raise ConfigurationError(
            f"the URL of a proxy must not contain a user name or a password: "
            f"{without_password(text)!r}",
            hint="Write USER:PASSWORD to a file that other users cannot read, and set "
            "proxy_credentials_file to its path.",
            code="configuration.proxy",
        )
    return _proxy(text)


def environment_proxy(text: str, variable: str) -> str:
    """Return the URL of a proxy from an environment variable, which may contain a user name and a
    password, in its normal form. Raises `ConfigurationError`, which names the variable.
    """
    try:
        host = _proxy(without_password(text.strip()))
    except ConfigurationError as error:
        raise ConfigurationError(
            f"the environment variable {variable}: {error.message}",
            hint=error.hint,
            code=error.code,
        ) from None
    user, at, _ = text.strip().rpartition("@")
    scheme, separator, address = host.partition("://")
    return f"{scheme}{separator}{user.rpartition('://')[2]}{at}{address}"


def without_password(text: str) -> str:
    """Return what a user gave as a URL, without a user name and password, to show it in a message.

    Everything up to the last `@` goes, since a password may contain any character.
    """
    before, at, shown = text.rpartition("@")
    scheme, separator, _ = before.partition("://")
    return f"{scheme}{separator}{shown}" if at and separator else shown


def url_parts(text: str) -> SplitResult:
    """Return the parts of what may be no URL; if it is none, they are all empty."""
    try:
        parts = urlsplit(text)
        usable = parts.port != 0  # raises for a port that is not a number
    except ValueError:
        usable = False
    return parts if usable else SplitResult("", "", "", "", "")


def is_loopback(host: str | None) -> bool:
    """Return whether the host of a URL is this machine."""
    if host is None or host == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy(text: str) -> str:
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        port = _DEFAULT_PORTS.get(parts.scheme, 0) if parts.port is None else parts.port
        usable = parts.scheme in _DEFAULT_PORTS and bool(parts.hostname) and text.isprintable()
    except ValueError:
        usable, port = False, 0
    if (
        not usable
        or " " in text
        or parts.path not in {"", "/"}
        or parts.query
        or parts.fragment
        or not port
    ):
        socks = url.partition("://")[0].lower().startswith("socks")
        raise ConfigurationError(
            f"{text!r} is not the URL of an http or https proxy",
            hint="certctl has no support for SOCKS proxies."
            if socks
            else "Give a URL such as http://proxy.example:3128.",
            code="configuration.proxy",
        )
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{port}"
