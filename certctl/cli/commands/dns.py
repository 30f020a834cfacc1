"""`certctl dns`: what there is for DNS-01, whether it works, and records that stand for good."""

from __future__ import annotations

import click

from certctl.cli import dns_persist
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, Group, examples, settings
from certctl.cli.session import open_run
from certctl.cli.specs import given_options
from certctl.dns.loading import provider_options
from certctl.output.document import Result


@click.group(
    "dns",
    cls=Group,
    epilog=examples(
        "certctl dns list --search cloud",
        "certctl dns show cloudflare",
        "certctl dns test example.com --dns-credentials work",
        "certctl dns persist example.com",
    ),
)
def command() -> None:
    """List, explain and try DNS providers, or prove control for good."""


command.add_command(dns_persist.command)


@command.command(
    "list", cls=Command, epilog=examples("certctl dns list", "certctl dns list --search cloud")
)
@click.option("--search", metavar="WORD", default="", help="Show those with WORD in their name.")
def list_(search: str) -> Result:
    """Show the providers there are, with what some need besides."""
    from certctl.operations.providers import more_to_install, providers  # noqa: PLC0415 - late
    from certctl.output.providers import providers_table, view_object  # noqa: PLC0415 - as above

    views = providers(search)
    lines: list[object] = [providers_table(views)] if views else ["There is none of that name."]
    more = more_to_install()
    if more is not None:
        lines.append(f"Some ninety more, Cloudflare and Route 53 among them: {more}")
    return Result({"providers": [view_object(each) for each in views], "more": more}, lines)


@command.command("show", cls=Command, epilog=examples("certctl dns show cloudflare"))
@click.argument("provider")
def show(provider: str) -> Result:
    """Show what a provider wants to be told, with an example for certctl.toml."""
    from certctl.operations import providers  # noqa: PLC0415 - not for --help
    from certctl.output.providers import details_lines, details_object  # noqa: PLC0415 - as above

    details = providers.provider(provider)
    return Result({"provider": details_object(details)}, details_lines(details))


@command.command(
    "test",
    cls=Command,
    plugin_options=provider_options,
    epilog=examples(
        "certctl dns test example.com",
        "certctl dns test example.com --dns-credentials work",
        "certctl dns test example.org --dns rfc2136 --rfc2136-server 192.0.2.53",
    ),
)
@click.argument("domain")
@settings(
    "challenge.dns_provider",
    "challenge.dns_credentials",
    "challenge.dns_options",
    "challenge.dns_resolver",
    "challenge.dns_skip_propagation",
    "challenge.dns_propagation_timeout",
)
@settings("deploy.hook_timeout", "lock_timeout")
@click.pass_obj
def test(invocation: Invocation, domain: str) -> Result:
    """Write a throwaway record, see it at every authoritative server, and remove it.

    Without options it is done as the certificate of DOMAIN does, or as the settings say. Each step
    is timed. No CA is asked for anything.
    """
    from certctl.operations.dns_test import run_dns_test  # noqa: PLC0415 - not for --help
    from certctl.output.providers import dns_test_result  # noqa: PLC0415 - as above

    with open_run(invocation) as run:
        return dns_test_result(run_dns_test(domain, given_options(invocation), run))
