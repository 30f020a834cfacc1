"""The credentials files of certbot's DNS plug-ins, as credentials of certctl's providers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from types import MappingProxyType

PLUGINS: Mapping[str, tuple[str, Mapping[str, str]]] = MappingProxyType(
    {
        "cloudflare": (
            "cloudflare",
            {"api_token": "auth_token", "email": "auth_username", "api_key": "auth_token"},
        ),
        "digitalocean": ("digitalocean", {"token": "auth_token"}),
        "dnsimple": ("dnsimple", {"token": "auth_token"}),
        "dnsmadeeasy": ("dnsmadeeasy", {"api_key": "auth_username", "secret_key": "auth_token"}),
        "gehirn": ("gehirn", {"api_token": "auth_token", "api_secret": "auth_secret"}),
        "linode": ("linode4", {"key": "auth_token"}),
        "luadns": ("luadns", {"email": "auth_username", "token": "auth_token"}),
        "nsone": ("nsone", {"api_key": "auth_token"}),
        "ovh": (
            "ovh",
            {
                "endpoint": "auth_entrypoint",
                "application_key": "auth_application_key",
                "application_secret": "auth_application_secret",
                "consumer_key": "auth_consumer_key",
            },
        ),
        "sakuracloud": ("sakuracloud", {"api_token": "auth_token", "api_secret": "auth_secret"}),
    }
)
"""certctl's DNS provider for each of certbot's plug-ins, with the names of its credentials."""

_OF_SERVICE_ACCOUNT = ("client_email", "private_key", "project_id")
_KEY = re.compile(r"\s*(?:certbot_dns_([a-z0-9]+):)?dns_([a-z0-9]+)_([a-z0-9_]+)\s*=\s*(.*)\Z")
_COMMENT = re.compile(r"\s+#.*\Z")


def of_file(text: str) -> tuple[str, dict[str, str]] | None:
    """Return the provider and its options that a credentials file of certbot has, or the key of a
    service account of Google; None if it is none, or if the plug-in has no equal. Interprets
    nothing: no interpolation, no inclusion.
    """
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        return _service_account(text)
    found: dict[str, dict[str, str]] = {}
    for line in text.lstrip("\ufeff").splitlines():
        matched = _KEY.match(line)
        if matched is not None:
            found.setdefault(matched[2], {})[matched[3]] = _value(matched[4].strip())
    for plugin, given in found.items():
        credentials = of_plugin(plugin, given)
        if credentials is not None:
            return credentials
    return None


def _service_account(text: str) -> tuple[str, dict[str, str]] | None:
    """Return the options of Google's provider for the key of a service account; None for others.

    The provider wants the project in it too, which it has unless somebody removed it.
    """
    try:
        found = json.loads(text.lstrip("\ufeff"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    if not all(isinstance(found.get(each), str) for each in _OF_SERVICE_ACCOUNT):
        return None
    encoded = base64.b64encode(json.dumps(found).encode()).decode()
    return "googleclouddns", {"auth_service_account_info": f"base64::{encoded}"}


def of_plugin(plugin: str, given: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    """Return the provider and its options for what is given to a plug-in of certbot; None if that
    has no equal.
    """
    if plugin == "rfc2136":
        return _rfc2136(given)
    if plugin not in PLUGINS:
        return None
    provider, names = PLUGINS[plugin]
    options = {names[key]: value for key, value in given.items() if key in names and value}
    return (provider, options) if options else None


def _rfc2136(given: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    if not given.get("server"):
        return None
    server, port = given["server"], given.get("port", "53")
    host = f"[{server}]" if ":" in server else server
    options = {"server": server if port == "53" else f"{host}:{port}"}
    if given.get("name"):
        options |= {
            "key_name": given["name"],
            "secret": given.get("secret", ""),
            "key_algorithm": given.get("algorithm", "hmac-md5").lower(),
        }
    return "rfc2136", options


def _value(text: str) -> str:
    for quote in ("'''", '"""', "'", '"'):
        if text.startswith(quote) and (end := text.find(quote, len(quote))) > 0:
            return text[len(quote) : end]
    return re.sub(_COMMENT, "", text)
