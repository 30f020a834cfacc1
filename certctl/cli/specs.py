"""The options of a certificate, shared by the commands that create or change one."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, TypeVar

import click

from certctl.cli.completion import setting_values
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import DOMAIN_VALIDATION, SectionedOption, help_of, read_value, settings
from certctl.engine.plugins import option_table
from certctl.model.errors import UsageError
from certctl.model.values import Value
from certctl.rules.options import OPTIONS
from certctl.rules.spec import with_absolute_paths

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

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
        "stateless": (
            "Use HTTP-01 with a static rule in the web server, which `certctl snippet` prints.",
            False,
        ),
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
    "order_window",
    "deploy_window",
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
