"""Which proxy a request goes through: the one that is set, else the environment's.

`requests` is imported once a URL is requested, because an idle run sends no request.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from certctl.model.ca import Proxy
from certctl.model.errors import ConfigurationError
from certctl.model.urls import DIRECT, environment_proxy, is_loopback
from certctl.rules.settings import Settings
from certctl.system.secrets import read_secret


def proxies_for(url: str, proxy: Proxy) -> Mapping[str, str]:
    """Return the proxy for a request to `url` as `requests` wants it; empty for none.

    This machine is always reached directly by a proxy that is set, and so are the hosts in the
    variable no_proxy. Raises `ConfigurationError` if a variable of the environment is not the URL
    of a proxy.
    """
    from requests.utils import (  # noqa: PLC0415 - slow to import
        get_environ_proxies,
        select_proxy,
        should_bypass_proxies,
    )

    if proxy.url is None:
        proxies = get_environ_proxies(url, no_proxy=None)
        chosen = select_proxy(url, proxies)
        if chosen is None:
            return {}
        scheme = next(each for each, found in proxies.items() if found == chosen)
        return {urlsplit(url).scheme: environment_proxy(chosen, f"{scheme}_proxy")}
    host = urlsplit(url).hostname
    if proxy.url == DIRECT or is_loopback(host) or should_bypass_proxies(url, no_proxy=None):
        return {}
    return {urlsplit(url).scheme: _with_credentials(proxy.url, proxy.credentials)}


def _with_credentials(url: str, credentials: str | None) -> str:
    if credentials is None:
        return url
    user, _, password = credentials.partition(":")
    scheme, _, address = url.partition("://")
    return f"{scheme}://{quote(user, safe='')}:{quote(password, safe='')}@{address}"


def proxy_from(settings: Settings) -> Proxy:
    """Return the proxy of the settings. Raises `ConfigurationError` if the file with its
    credentials cannot be read, is readable by other users, or contains something else.
    """
    url, path = settings.text("proxy"), settings.text("proxy_credentials_file")
    if path is None:
        return Proxy(url)
    if url is None or url == DIRECT:
        raise ConfigurationError(
            "proxy_credentials_file is set, but proxy is not",
            hint="Set proxy to the URL of the proxy, such as http://proxy.example:3128.",
            code="configuration.proxy",
        )
    credentials = read_secret(Path(path))
    if ":" not in credentials:
        raise ConfigurationError(
            f"{path} does not contain a user name and a password",
            hint="It must contain USER:PASSWORD on a single line.",
            code="configuration.proxy",
        )
    return Proxy(url, credentials)
