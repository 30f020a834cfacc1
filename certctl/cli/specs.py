"""Shared by commands that create or change a certificate: its options, and the lines that report
what was done.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click

from certctl.ca.directories import DEV
from certctl.cli.completion import setting_values
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import (
    DOMAIN_VALIDATION,
    SectionedOption,
    help_of,
    read_value,
    settings,
)
from certctl.engine.plugins import option_table
from certctl.engine.report import Report
from certctl.engine.run import Run
from certctl.model.certificate import Version
from certctl.model.errors import ConsentRequired, UsageError
from certctl.model.run import Outcome
from certctl.model.values import Value
from certctl.output.certificates import files_lines, renewal_text
from certctl.output.console import Paragraph
from certctl.output.times import Times, left
from certctl.rules.options import OPTIONS
from certctl.rules.spec import with_absolute_paths

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_FILE_LIMIT = 1_000_000

_QUIET_ACTIONS = frozenset({"unchanged", "busy"})
_ACTIONS = MappingProxyType(
    {
        "busy": "skipped",
        "dry-run": "tested",
        "undeployed": "not deployed",
        "waiting": "to be retried",
    }
)
"""What a summary calls the actions whose name is not a plain word for it."""

_METHOD, _CREDENTIALS = "challenge.method", "challenge.dns_credentials"
_CA = ("ca", "ca_bundle", "account.id", "account.email", "account.agree_tos")
_CHALLENGE = (
    "challenge.http_address",
    "challenge.http_port",
    "challenge.tls_alpn_address",
    "challenge.tls_alpn_port",
    "challenge.webroots",
    "challenge.directory",
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
    "challenge.dns_follow_cname",
    "challenge.dns_skip_propagation",
    "challenge.dns_propagation_timeout",
    "challenge.dns_propagation_quorum",
    "challenge.dns_public_resolvers",
)
_CERTIFICATE = (
    "key_type",
    "reuse_key",
    "profile",
    "required_profile",
    "preferred_chain",
    "common_name",
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
_TIMEOUTS = ("lock_timeout", "order_timeout")


def spec_options(function: _Decorated) -> _Decorated:
    """Add all options of a certificate to a command, except those of plug-ins."""
    function = settings(*_TIMEOUTS)(function)
    function = settings(*_CERTIFICATE)(function)
    function = settings(*_CHALLENGE, *_DNS)(function)
    for method in reversed(_METHODS):
        function = _method_option(method)(function)
    function = _challenge_option()(function)
    return settings(*_CA)(function)


def given_options(invocation: Invocation) -> dict[str, Value]:
    """Return the certificate's options on the command line, with absolute paths.

    Raises `UsageError` if two validation methods were given.
    """
    flags = invocation.flags
    chosen = {
        flag: method
        for flag, method, given in (
            (_flag_of(str(flags.get(_METHOD))), str(flags.get(_METHOD)), _METHOD in flags),
            ("--webroot", "webroot", "challenge.webroots" in flags),
            ("--challenge-directory", "webroot", "challenge.directory" in flags),
            ("--dns", "dns", bool({"challenge.dns_provider", _CREDENTIALS} & flags.keys())),
            ("--http-hook", "http-hook", "challenge.http_hook" in flags),
        )
        if given
    }
    if len(set(chosen.values())) > 1 or {"--webroot", "--challenge-directory"} <= chosen.keys():
        raise _cannot_combine(*chosen)
    if "profile" in flags and "required_profile" in flags:
        raise UsageError("--profile and --required-profile cannot be combined")
    options = option_table()
    given = {key: value for key, value in flags.items() if options[key].in_spec}
    return with_absolute_paths(given, options, str(invocation.environment.directory))


def read_file(path: Path) -> bytes:
    """Return the content of a file named on the command line. Raises `UsageError`."""
    try:
        with path.open("rb") as file:
            return file.read(_FILE_LIMIT)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def require_confirmation(invocation: Invocation, question: str, name: str | None) -> None:
    """Return if `--yes` was given or the user agrees to the question; else raise
    `ConsentRequired`.
    """
    answer = invocation.confirm(question)
    if answer:
        return
    if answer is None:
        raise ConsentRequired(
            "nothing was done: confirmation is required, and there is no terminal to ask on",
            hint="Confirm in advance with --yes.",
            name=name,
        )
    raise ConsentRequired(
        "nothing was done: not confirmed", hint="Confirm in advance with --yes.", name=name
    )


def report_lines(
    report: Report, run: Run, invocation: Invocation, *, everything: bool = True
) -> list[object]:
    """Return the lines that report a run. Unless `everything` is set, certificates to which nothing
    happened are left out.
    """
    times = Times(local=invocation.output.terminal)
    reported = [each for each in report.outcomes if everything or each.action not in _QUIET_ACTIONS]
    lines = [
        line
        for each in reported
        if each.error is None
        for line in _outcome_lines(each, run, times, brief=len(reported) > 1)
    ]
    if len(reported) > 1:
        lines.append(_summary(report))
    elif everything and not report.outcomes and not report.errors and not report.interrupted:
        lines.append(f"Nothing is due ({_counted(report.considered)}).")
    return lines


def schedule_lines(report: Report, run: Run, invocation: Invocation) -> list[object]:
    """Return the last line of `issue` if nothing will renew what it issued."""
    from certctl.inspection.scheduled import (  # noqa: PLC0415 - not for --help
        INSTALL,
        MachineContext,
        is_renewed,
    )

    kept = [each.name for each in report.outcomes if each.version is not None]
    if report.dry_run or not any(_is_renewable(name, run) for name in kept):
        return []
    if is_renewed(MachineContext(invocation.environment.variables), run):
        return []
    return [Paragraph(f"Nothing renews it automatically yet. To schedule that, run: {INSTALL}")]


def _is_renewable(name: str, run: Run) -> bool:
    spec = run.services.store.spec(name)
    return spec.autorenew and spec.ca != DEV


def _outcome_lines(
    outcome: Outcome, run: Run, times: Times, *, brief: bool = False
) -> list[object]:
    name = outcome.name
    renewal = renewal_text(outcome.renews_at, outcome.reason or "", due=False, times=times)
    match outcome.action:
        case "unchanged":
            return [Paragraph(f"{name}: {renewal or 'nothing to do'}.")]
        case "busy":
            return [Paragraph(f"{name}: skipped; {outcome.reason}.")]
        case "dry-run":
            more = f" {outcome.reason}." if outcome.reason else ""
            return [Paragraph(f"{name}: the dry run succeeded; nothing was saved.{more}")]
        case "updated":
            return [Paragraph(f"{name}: options saved{renewal and '; '}{renewal}.")]
        case "deployed":
            done = outcome.deploy
            return [f"{name}: version {done.version} deployed."] if done and done.deployed else []
        case "undeployed":
            return []  # its error is printed
    if outcome.version is None:
        return [f"{name}: {outcome.action}"]
    return _version_lines(outcome.version, run, times, brief=brief)


def _version_lines(version: Version, run: Run, times: Times, *, brief: bool) -> list[object]:
    """Return the lines that report a new version: one line if `brief`."""
    remaining = (version.facts.not_after - run.services.clock.now()).total_seconds()
    until = f"{times.minute(version.facts.not_after)} ({left(remaining)})"
    if brief:
        return [f"{version.name}: version {version.number} is live, valid until {until}."]
    names = ", ".join(each.value for each in version.facts.identifiers)
    return [
        Paragraph(f"{version.name}: version {version.number} is live for {names}."),
        f"  It is valid until {until}.",
        *files_lines(run.services.tree.files(version)),
    ]


def _summary(report: Report) -> str:
    counts: dict[str, int] = {}
    for outcome in report.outcomes:
        counts[outcome.action] = counts.get(outcome.action, 0) + 1
    text = ", ".join(f"{count} {_ACTIONS.get(action, action)}" for action, count in counts.items())
    return f"{_counted(report.considered)}: {text}."


def _counted(certificates: int) -> str:
    return f"{certificates} certificate{'' if certificates == 1 else 's'}"


def _method_option(method: str) -> Callable[[_Decorated], _Decorated]:
    """Return a decorator that adds the flag of a validation method."""
    text, common = _METHODS[method]

    def choose(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            _choose(context, method)

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


def _challenge_option() -> Callable[[_Decorated], _Decorated]:
    """Return a decorator that adds `--challenge`, for the methods of plug-ins and for scripts."""
    option = next(each for each in OPTIONS if each.key == _METHOD)

    def choose(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value is not None:
            _choose(context, str(read_value(option, value, context, parameter)))

    return click.option(
        option.flag or "",
        "challenge_method",
        cls=SectionedOption,
        section=DOMAIN_VALIDATION,
        setting=option,
        metavar=option.metavar,
        expose_value=False,
        callback=choose,
        help=help_of(option),
        shell_complete=setting_values(_METHOD),
    )


def _choose(context: click.Context, method: str) -> None:
    """Store the method. Raises `UsageError` if another flag chose another one."""
    flags = context.find_root().ensure_object(Invocation).flags
    before = str(flags.setdefault(_METHOD, method))
    if before != method:
        raise _cannot_combine(_flag_of(before), _flag_of(method))


def _flag_of(method: str) -> str:
    return f"--{method}" if method in _METHODS else f"--challenge {method}"


def _cannot_combine(*ways: str) -> UsageError:
    return UsageError(f"{' and '.join(ways)} cannot be combined", hint="Choose one of them.")
