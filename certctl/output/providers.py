"""DNS providers and the test of one, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.inspection.providers import ProviderDetails, ProviderView
from certctl.operations.dns_test import DnsTestResult
from certctl.output.document import Json, Result
from certctl.output.tables import Row, Table
from certctl.rules.options import Option


def providers_table(views: Sequence[ProviderView]) -> Table:
    """Return a table with one row per provider."""
    rows = tuple(Row((each.name, each.origin, each.needs or "")) for each in views)
    return Table(("PROVIDER", "FROM", "NEEDS"), rows)


def view_object(view: ProviderView) -> dict[str, Json]:
    """Return a provider as JSON."""
    return {"name": view.name, "origin": view.origin, "needs": view.needs}


def details_object(details: ProviderDetails) -> dict[str, Json]:
    """Return a provider with its options as JSON."""
    return {
        **view_object(details.view),
        "options": [_option_object(each) for each in details.options],
        "example": details.example,
    }


def details_lines(details: ProviderDetails) -> list[object]:
    """Return the lines of `dns show`: options, an example, and how to use it."""
    view = details.view
    lines: list[object] = [f"{view.name} (from {view.origin})"]
    if view.needs is not None:
        lines.append(f"To use it, first install: {view.needs}")
    rows = tuple(
        Row((_name(each), "secret" if each.secret else "", each.environment, _meaning(each)))
        for each in details.options
    )
    if rows:
        lines += ["", Table(("OPTION", "", "VARIABLE", "MEANING"), rows)]
    if any(each.secret for each in details.options):
        lines += [
            "",
            "Give a secret as OPTION_file, OPTION_command (a command that prints it),",
            "OPTION_variable or OPTION_credential (of systemd), or write it to",
            "credentials/NAME.toml with mode 0600.",
        ]
    lines += ["", "certctl.toml:", ""]
    lines += [f"    {line}" for line in details.example.splitlines()]
    lines += [
        "",
        f"    certctl dns test example.com --dns-credentials {view.name}",
        f"    certctl issue '*.example.com' --dns-credentials {view.name}",
    ]
    return lines


def dns_test_result(result: DnsTestResult) -> Result:
    """Return the result of `dns test`; it fails if a step failed."""
    rows = tuple(
        Row((step.what, f"{step.seconds:.1f} s", step.detail), "" if step.done else "red")
        for step in result.steps
    )
    data: dict[str, Json] = {
        "domain": result.domain,
        "name": result.name,
        "zone": result.zone,
        "credentials": result.credentials,
        "servers": list(result.servers),
        "steps": [
            {"step": each.what, "seconds": round(each.seconds, 3), "done": each.done}
            for each in result.steps
        ],
    }
    lines: list[object] = [Table(("STEP", "TOOK", ""), rows)]
    if not result.errors:
        lines.append(f"The records of {result.domain} can be written, resolved and removed.")
        return Result(data, lines)
    return Result(data, lines, result.errors, result.errors[0].exit_status)


def _option_object(option: Option) -> dict[str, Json]:
    return {
        "name": _name(option),
        "secret": option.secret,
        "flag": option.flag,
        "variable": option.environment or None,
        "default": option.default,
        "choices": list(option.choices),
        "meaning": option.doc,
    }


def _name(option: Option) -> str:
    return option.key.rpartition(".")[2]


def _meaning(option: Option) -> str:
    choices = f" One of {', '.join(option.choices)}." if option.choices else ""
    default = option.default
    shown = "" if default in (None, (), False, True, "") else f" [default: {default}]"
    return f"{option.doc}{choices}{shown}"
