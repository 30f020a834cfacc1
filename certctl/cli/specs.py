"""What commands that make or change a certificate share: its options, and the words for its
fate.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click

from certctl.cli.invocation import Invocation
from certctl.cli.parameters import DOMAIN_VALIDATION, SectionedOption, settings
from certctl.errors import ConsentRequired, UsageError
from certctl.models import Outcome, Value, Version
from certctl.operations.plugins import option_table
from certctl.operations.report import Report
from certctl.operations.run import Run
from certctl.output.certificates import files_lines, renewal_words
from certctl.output.times import Times, left
from certctl.spec import with_absolute_paths

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_FILE_LIMIT = 1_000_000

_UNEVENTFUL = frozenset({"unchanged", "busy"})

_BEFORE = ("ca", "ca_bundle", "account.id", "account.email", "account.agree_tos")
_CHALLENGE = (
    "challenge.http_address",
    "challenge.http_port",
    "challenge.tls_alpn_address",
    "challenge.tls_alpn_port",
    "challenge.webroots",
    "challenge.http_hook",
    "challenge.http_cleanup_hook",
    "challenge.http_hook_protocol",
    "challenge.dns_provider",
    "challenge.dns_credentials",
    "challenge.dns_options",
)
_METHODS = MappingProxyType(
    {
        "standalone": ("Use HTTP-01 with a built-in server (default).", True),
        "tls-alpn": ("Use TLS-ALPN-01 with a built-in server.", True),
        "dns-persist": (
            "Use the persistent record created by `certctl dns persist` (an experimental draft).",
            False,
        ),
    }
)
"""The validation methods that take no value, with their help, and whether they are common."""
_DNS = (
    "challenge.dns_challenge",
    "challenge.dns_resolver",
    "challenge.dns_skip_propagation",
    "challenge.dns_propagation_timeout",
    "challenge.dns_propagation_quorum",
    "challenge.dns_public_resolvers",
)
_REST = (
    "key_type",
    "reuse_key",
    "profile",
    "required_profile",
    "preferred_chain",
    "allow_subset",
    "key_group",
    "key_mode",
    "deploy.targets",
    "deploy.copy",
    "deploy.verify",
    "deploy.probe",
    "deploy.verify_timeout",
    "deploy.on_failure",
    "deploy.pre_hook",
    "deploy.deploy_hook",
    "deploy.reload",
    "deploy.post_hook",
    "deploy.hook_timeout",
)
_AFTER = ("lock_timeout", "order_timeout")


def spec_options(function: _Decorated) -> _Decorated:
    """Give a command every option that a certificate can have but those of plug-ins."""
    function = settings(*_AFTER)(function)
    function = settings(*_REST)(function)
    function = settings(*_CHALLENGE, *_DNS)(function)
    for method in reversed(_METHODS):
        function = _method_option(method)(function)
    return settings(*_BEFORE)(function)


def given_options(invocation: Invocation) -> dict[str, Value]:
    """Return the options of the command line that belong to the certificate, paths absolute.

    Those of the environment count as given for a new certificate only, where nothing beats them.
    Raises `UsageError` where two ways to prove control were given.
    """
    flags = invocation.flags
    ways = {
        **{f"--{method}": flags.get("challenge.method") == method for method in _METHODS},
        "--webroot": "challenge.webroots" in flags,
        "--dns": "challenge.dns_provider" in flags or "challenge.dns_credentials" in flags,
        "--http-hook": "challenge.http_hook" in flags,
    }
    chosen = [way for way, given in ways.items() if given]
    if len(chosen) > 1:
        raise _cannot_combine(*chosen)
    if "profile" in flags and "required_profile" in flags:
        raise UsageError("--profile and --required-profile cannot be combined")
    options = option_table()
    given = {key: value for key, value in flags.items() if options[key].in_spec}
    return with_absolute_paths(given, options, str(invocation.environment.directory))


def read_file(path: Path) -> bytes:
    """Return a file that was named on the command line. Raises `UsageError`."""
    try:
        with path.open("rb") as file:
            return file.read(_FILE_LIMIT)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def require_confirmation(invocation: Invocation, question: str, name: str | None) -> None:
    """Go on only where `--yes` or the person at the terminal agrees. Raises `ConsentRequired`."""
    answer = invocation.confirm(question)
    if answer:
        return
    reason = "nobody can be asked" if answer is None else "it was not agreed to"
    raise ConsentRequired(
        f"nothing was done: {reason}", hint="Say yes beforehand with --yes.", name=name
    )


def report_lines(
    report: Report, run: Run, invocation: Invocation, *, everything: bool = True
) -> list[object]:
    """Return what a person is told of a run; only what happened, unless `everything` is wanted."""
    times = Times(local=invocation.output.terminal)
    told = [each for each in report.outcomes if everything or each.action not in _UNEVENTFUL]
    lines = [
        line
        for each in told
        if each.error is None
        for line in _outcome_lines(each, run, times, brief=len(told) > 1)
    ]
    if len(told) > 1:
        lines.append(_summary(report))
    elif everything and not report.outcomes and not report.errors and not report.interrupted:
        lines.append(f"Nothing is due ({report.considered} certificates).")
    return lines


def _outcome_lines(
    outcome: Outcome, run: Run, times: Times, *, brief: bool = False
) -> list[object]:
    name = outcome.name
    renewal = renewal_words(outcome.renews_at, outcome.reason or "", due=False, times=times)
    match outcome.action:
        case "unchanged":
            return [f"{name}: nothing to do; renewal {renewal}."]
        case "busy":
            return [f"{name}: passed over; {outcome.reason}."]
        case "dry-run":
            return [f"{name}: the self_test succeeded; nothing was kept."]
        case "updated":
            return [f"{name}: options saved; renewal {renewal}."]
        case "deployed":
            return [f"{name}: deployed."] if outcome.deploy and outcome.deploy.deployed else []
        case "undeployed":
            return []  # its error says all
    if outcome.version is None:
        return [f"{name}: {outcome.action}"]
    return _version_lines(outcome.version, run, times, brief=brief)


def _version_lines(version: Version, run: Run, times: Times, *, brief: bool) -> list[object]:
    """Return what is told of a new version; `brief` where others are told of too."""
    remaining = (version.facts.not_after - run.services.clock.now()).total_seconds()
    until = f"{times.minute(version.facts.not_after)} ({left(remaining)})"
    if brief:
        return [f"{version.name}: version {version.number} is live, valid until {until}."]
    names = ", ".join(each.value for each in version.facts.identifiers)
    return [
        f"{version.name}: version {version.number} is live for {names}.",
        f"  It is valid until {until}.",
        *files_lines(run.services.tree.files(version)),
    ]


def _summary(report: Report) -> str:
    counts: dict[str, int] = {}
    for outcome in report.outcomes:
        counts[outcome.action] = counts.get(outcome.action, 0) + 1
    said = ", ".join(f"{count} {action}" for action, count in counts.items())
    return f"{report.considered} certificates: {said}."


def _method_option(method: str) -> Callable[[_Decorated], _Decorated]:
    """Return a decorator that adds the flag of a validation method."""
    text, common = _METHODS[method]

    def choose(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if not value:
            return
        flags = context.find_root().ensure_object(Invocation).flags
        before = flags.setdefault("challenge.method", method)
        if before != method:
            raise _cannot_combine(f"--{before}", f"--{method}")

    return click.option(
        f"--{method}",
        f"method_{method.replace('-', '_')}",
        cls=SectionedOption,
        section=DOMAIN_VALIDATION,
        common=common,
        is_flag=True,
        expose_value=False,
        callback=choose,
        help=text,
    )


def _cannot_combine(*ways: str) -> UsageError:
    return UsageError(f"{' and '.join(ways)} cannot be combined", hint="Choose one of them.")
