"""`certctl dns`: list and test DNS providers, and create persistent records."""

from __future__ import annotations

import click

from certctl.cli import dns_persist
from certctl.cli.invocation import Invocation
from certctl.cli.parameters import Command, Group, examples, settings
from certctl.cli.session import open_run
from certctl.cli.specs import given_options
from certctl.dns.loading import provider_options
from certctl.model.errors import UsageError
from certctl.output.document import Result


@click.group(
    "dns",
    cls=Group,
    epilog=examples(
        "certctl dns list --search cloud",
        "certctl dns show cloudflare",
        "certctl dns test example.com --dns-credentials work",
        "certctl dns persist example.com",
        "certctl dns cleanup",
    ),
)
def command() -> None:
    """List, show and test DNS providers, create persistent records, and clean up."""


@command.command(
    "list", cls=Command, epilog=examples("certctl dns list", "certctl dns list --search cloud")
)
@click.option(
    "--search", metavar="WORD", default="", help="List only providers with WORD in their name."
)
def list_(search: str) -> Result:
    """List DNS providers, and what needs to be installed for them."""
    from certctl.inspection.providers import more_to_install, providers  # noqa: PLC0415 - late
    from certctl.output.providers import providers_table, view_object  # noqa: PLC0415 - as above

    views = providers(search)
    lines: list[object] = (
        [providers_table(views)] if views else [f"No DNS provider has {search!r} in its name."]
    )
    more = more_to_install()
    if more is not None:
        lines.append(f"For about ninety more, such as Cloudflare and Route 53, run: {more}")
    return Result({"providers": [view_object(each) for each in views], "more": more}, lines)


@command.command("show", cls=Command, epilog=examples("certctl dns show cloudflare"))
@click.argument("provider")
def show(provider: str) -> Result:
    """Show the options of a provider, with an example for certctl.toml."""
    from certctl.inspection import providers  # noqa: PLC0415 - not for --help
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
    "challenge.dns_follow_cname",
    "challenge.dns_skip_propagation",
    "challenge.dns_propagation_timeout",
)
@settings("deploy.hook_timeout", "lock_timeout")
@click.pass_obj
def test(invocation: Invocation, domain: str) -> Result:
    """Test a provider: write a test record, check it, and remove it.

    The record must appear at every authoritative server. Without options, the saved options of
    the certificate of DOMAIN are used, or else the settings. Each step is timed. No CA is
    contacted.
    """
    from certctl.inspection.dns_test import run_dns_test  # noqa: PLC0415 - not for --help
    from certctl.output.providers import dns_test_result  # noqa: PLC0415 - as above

    with open_run(invocation) as run:
        return dns_test_result(run_dns_test(domain, given_options(invocation), run))


@command.command(
    "cleanup",
    cls=Command,
    plugin_options=provider_options,
    epilog=examples("certctl dns cleanup", "certctl dns cleanup --retry"),
)
@click.argument("names", nargs=-1)
@click.option("--retry", is_flag=True, help="Try again now to remove them.")
@click.option("--drop", is_flag=True, help="Forget them, without removing them.")
@settings("lock_timeout")
@click.pass_obj
def cleanup(invocation: Invocation, names: tuple[str, ...], retry: bool, drop: bool) -> Result:
    """Show the challenge responses that could not be removed.

    These are records, files and responses published by hooks, of all certificates or of those
    NAMES. `renew` tries again after pauses of one hour to one day, and gives up after seven days.
    """
    from certctl.operations.leftovers import CleanupAction, clean_up_leftovers  # noqa: PLC0415 - not for --help
    from certctl.output.leftovers import leftovers_result  # noqa: PLC0415 - as above
    from certctl.output.times import Times  # noqa: PLC0415 - as above

    if retry and drop:
        raise UsageError("--retry and --drop cannot be combined")
    action = CleanupAction.SHOW
    if retry or drop:
        action = CleanupAction.RETRY if retry else CleanupAction.DROP
    with open_run(invocation) as run:
        found = clean_up_leftovers(names, action, run)
        return leftovers_result(found, action, Times(local=invocation.output.terminal))


command.add_command(dns_persist.command)
