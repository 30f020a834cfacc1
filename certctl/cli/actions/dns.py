"""What `certctl dns` does."""

from __future__ import annotations

from certctl.cli.invocation import Invocation
from certctl.cli.session import open_run
from certctl.cli.specs import given_options
from certctl.inspection import providers
from certctl.model.errors import UsageError
from certctl.operations.caa import pin_caa
from certctl.operations.dns_test import run_dns_test
from certctl.operations.leftovers import CleanupAction, clean_up_leftovers
from certctl.output.caa import caa_result
from certctl.output.console import Message
from certctl.output.document import Result
from certctl.output.leftovers import leftovers_result
from certctl.output.providers import (
    details_lines,
    details_object,
    dns_test_result,
    providers_table,
    view_object,
)
from certctl.output.times import Times


def list_(_invocation: Invocation, search: str) -> Result:
    """List DNS providers, and what needs to be installed for them."""
    views = providers.providers(search)
    lines: list[object] = (
        [providers_table(views)] if views else [f"No DNS provider has {search!r} in its name."]
    )
    more = providers.more_to_install()
    if more is not None:
        lines.append(
            Message(f"For about ninety more, such as Cloudflare and Route 53, run: {more}")
        )
    return Result({"providers": [view_object(each) for each in views], "more": more}, lines)


def show(_invocation: Invocation, provider: str) -> Result:
    """Show the options of a provider, with an example for certctl.toml."""
    details = providers.provider(provider)
    return Result({"provider": details_object(details)}, details_lines(details))


def test(invocation: Invocation, domain: str) -> Result:
    """Test a provider: write a test record, check it, and remove it."""
    with open_run(invocation) as run:
        return dns_test_result(run_dns_test(domain, given_options(invocation), run))


def caa(invocation: Invocation, name: str, write: bool, force: bool) -> Result:
    """Print the CAA records that pin CA, account and method, or add them."""
    with open_run(invocation) as run:
        found = pin_caa(run, name, given_options(invocation), write=write, force=force)
        return caa_result(found)


def cleanup(invocation: Invocation, names: tuple[str, ...], retry: bool, drop: bool) -> Result:
    """Show the challenge responses that could not be removed."""
    if retry and drop:
        raise UsageError("--retry and --drop cannot be combined")
    action = CleanupAction.SHOW
    if retry or drop:
        action = CleanupAction.RETRY if retry else CleanupAction.DROP
    with open_run(invocation) as run:
        found = clean_up_leftovers(names, action, run)
        return leftovers_result(found, action, Times(local=invocation.output.terminal))
