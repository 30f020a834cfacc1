"""What certbot's words and flags are called in certctl, for people who type them to `certctl`.

`certctl-certbot` takes them as they are (`certbot_flags`); here each is answered by certctl's word
for it.
"""

from __future__ import annotations

import re
from types import MappingProxyType

from certctl.model.errors import UsageError
from certctl.rules.certbot_flags import DNS_PLUGINS, FLAGS, OTHER_VERBS, SUBCOMMANDS, Kind

_UNCHANGED = "certbot's command lines also work unchanged with certctl-certbot."

_COMMANDS = MappingProxyType(
    {
        "run": "certctl secure example.com",
        "certonly": "certctl issue example.com --webroot /var/www/html",
        "certificates": "certctl list",
        "reconfigure": "certctl edit NAME --webroot /var/www/html",
        "update_account": "certctl account update --email you@example.com",
        "show_account": "certctl account show",
        "unregister": "certctl account deactivate",
        "install": "certctl secure example.com",
        "enhance": "certctl secure example.com --redirect --hsts",
        "plugins": "certctl dns list",
    }
)
"""What to type instead of certbot's subcommands that certctl does not have."""

_METHOD = "choose one by --webroot DIR, --standalone, --dns PROVIDER or another method of issue"
_OWN = MappingProxyType(
    {
        "--domains": "names are arguments: certctl issue example.com www.example.com",
        "--cert-name": "the certificate's name is an argument (with issue: --name NAME)",
        "--expand": "certctl edit NAME --add www.example.com",
        "--renew-with-new-domains": "certctl edit NAME --add NEW --remove OLD",
        "--duplicate": "certctl issue example.com --name second",
        "--email": "--email ADDRESS, which can be repeated",
        "--non-interactive": "without a terminal nothing is asked; what is asked on one is"
        " answered by --yes, --agree-tos and --email",
        "--webroot-path": "--webroot DIR",
        "--webroot-map": "one certificate for each directory: --webroot DIR",
        "--nginx": "certctl secure example.com; or --deploy nginx with another method",
        "--apache": "certctl secure example.com; or --deploy apache with another method",
        "--authenticator": _METHOD,
        "--installer": "certctl secure example.com; or --deploy nginx with another method",
        "--configurator": _METHOD,
        "--preferred-challenges": _METHOD,
        "--force-renewal": "certctl renew NAME --force",
        "--keep-until-expiring": "always so: nothing is ordered that is not due",
        "--config-dir": "--home DIR",
        "--logs-dir": "--log-file FILE",
        "--rsa-key-size": "--key-type rsa-4096",
        "--elliptic-curve": "--key-type ecdsa-p384",
        "--dry-run": "--dry-run, with issue and renew",
        "--register-unsafely-without-email": "always possible: leave out --email",
    }
)
"""What those flags are called whose line in the table of `certctl-certbot` does not say it."""

_CODE = re.compile("`([^`]*)`")


def answer_for_command(word: str) -> UsageError | None:
    """Return the error that answers one of certbot's subcommands, None for any other word."""
    known = word if word in SUBCOMMANDS else OTHER_VERBS.get(word)
    if not known:
        return None
    if (instead := _COMMANDS.get(known)) is None:
        return _error(f"{word} is a subcommand of certbot", _UNCHANGED)
    return _error(f"{word} is a subcommand of certbot", f"In certctl: {instead}")


def answer_for_flag(flag: str) -> UsageError | None:
    """Return the error that answers one of certbot's flags, None for any other one, and for one
    that is called the same in certctl.
    """
    plugin = next((each for each in DNS_PLUGINS if flag.startswith(f"--dns-{each}")), None)
    if plugin is not None:
        return _flag(
            flag, f"--dns {plugin}, with its settings as shown by: certctl dns show {plugin}"
        )
    found = next((each for each in FLAGS if flag in each.names), None)
    if found is None:
        return None
    own = next((text for name, text in _OWN.items() if name in found.names), None)
    text = _CODE.sub(r"\1", found.text)
    if own is None and found.kind is not Kind.MEANS:
        return _error(f"{flag} is a flag of certbot that has no equal in certctl: {text}", None)
    instead = own or text
    return None if instead == flag else _flag(flag, instead)


def _flag(flag: str, instead: str) -> UsageError:
    return _error(f"{flag} is a flag of certbot", f"In certctl: {instead}")


def _error(message: str, hint: str | None) -> UsageError:
    return UsageError(message, hint=hint, code="usage.certbot")
