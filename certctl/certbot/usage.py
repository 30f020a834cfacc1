"""The help and the version of `certctl-certbot`, from the table of flags."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from certctl.rules.certbot_flags import CERTBOT_VERSION, FLAGS, SUBCOMMANDS, Flag, Kind, Takes
from certctl.version import VERSION

_WIDTH, _INDENT = 80, 24
_USUAL = frozenset(
    {
        *("--domains", "--cert-name", "--non-interactive", "--quiet", "--dry-run", "--email"),
        *("--agree-tos", "--standalone", "--webroot", "--webroot-path", "--nginx", "--apache"),
        *("--manual", "--deploy-hook", "--force-renewal", "--expand", "--staging", "--home"),
    }
)


def version_line() -> str:
    """Return certbot's line about its version, for scripts that read it, with certctl's."""
    return f"certbot {CERTBOT_VERSION} (certctl {VERSION})"


def help_lines(topic: str | None) -> list[str]:
    """Return the help: `all` flags, those whose name or text has the topic, or the usual ones."""
    lines = [
        "usage: certbot [SUBCOMMAND] [options] [-d DOMAIN] [-d DOMAIN] ...",
        "",
        "certctl with the command line of certbot. What each flag does here:",
        "docs/from-certbot.md, or certbot --help all",
        "",
        "subcommands:",
        *_entries((f"  {name}", text) for name, text in SUBCOMMANDS.items()),
        "",
        "options:",
        *_entries((f"  {_shown(flag)}", _told(flag)) for flag in FLAGS if _wanted(flag, topic)),
    ]
    return [line.replace("`", "") for line in lines]


def _wanted(flag: Flag, topic: str | None) -> bool:
    if topic in (None, *SUBCOMMANDS):
        return not _USUAL.isdisjoint(flag.names)
    return topic == "all" or any(str(topic) in each for each in flag.names)


def _told(flag: Flag) -> str:
    return flag.text if flag.kind is Kind.MEANS else f"{flag.kind.value}: {flag.text}"


def _shown(flag: Flag) -> str:
    value = (
        f" {flag.metavar or 'VALUE'}" if flag.takes.value and flag.takes is not Takes.COUNT else ""
    )
    return ", ".join(f"{each}{value}" for each in flag.names)


def _entries(pairs: Iterable[tuple[str, str]]) -> list[str]:
    lines: list[str] = []
    for name, text in pairs:
        wrapped = textwrap.wrap(text, _WIDTH - _INDENT)
        first = f"{name:<{_INDENT}}"
        if len(name) >= _INDENT:
            lines.append(name)
            first = " " * _INDENT
        lines += [f"{first}{wrapped[0]}", *(" " * _INDENT + each for each in wrapped[1:])]
    return lines
