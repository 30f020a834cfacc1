"""Click options made from the table of settings, and those that every command has.

A setting's option puts its value into the invocation's `flags` and is no parameter of the command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from certctl.cli.completion import KNOWN_VALUES, setting_values
from certctl.cli.invocation import Invocation
from certctl.errors import ConfigurationError
from certctl.models import Value
from certctl.options import OPTIONS, Kind, Option
from certctl.settings import check, parse

_NO_MORE = "certctl.no_more"
_CA = "CA and account"
_RUN = "Patience"

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def settings(*keys: str) -> Callable[[_Decorated], _Decorated]:
    """Return a decorator that gives a command the flags of these settings, in their order."""
    known = {option.key: option for option in OPTIONS}
    declared = [_declaration(known[key]) for key in keys]

    def decorate(function: _Decorated) -> _Decorated:
        for names, attributes in reversed(declared):
            function = click.option(*names, **attributes)(function)
        return function

    return decorate


def _made(option: Option) -> click.Option:
    """Return the option of a setting itself."""
    names, attributes = _declaration(option)
    kind: type[click.Option] = attributes.pop("cls")
    return kind(names, **attributes)


def _declaration(option: Option) -> tuple[list[str], dict[str, Any]]:
    """Return the names and the attributes of the Click option of a setting."""

    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is None or value == ():
            return
        try:
            given: Value = parse(option, value) if isinstance(value, str) else check(option, value)
        except ConfigurationError as error:
            message = error.message.removeprefix(f"{option.key}: ")
            raise click.BadParameter(message, ctx=context, param=parameter) from error
        context.find_root().ensure_object(Invocation).flags[option.key] = given

    attributes: dict[str, Any] = {
        "cls": SectionedOption,
        "section": _section(option.key),
        "setting": option,
        "callback": keep,
        "expose_value": False,
        "help": help_of(option),
    }
    name = "setting_" + option.key.replace(".", "_").replace("-", "_")
    if option.key in KNOWN_VALUES:
        attributes["shell_complete"] = setting_values(option.key)
    match option.kind:
        case Kind.BOOLEAN:
            attributes |= {"is_flag": True, "default": None}
        case Kind.TEXTS:
            attributes |= {"multiple": True, "metavar": option.metavar}
        case Kind.CHOICE:
            attributes |= {"type": click.Choice(option.choices, case_sensitive=False)}
        case Kind.PATH:
            attributes |= {"type": click.Path(), "metavar": option.metavar or option.kind.value}
        case _:
            attributes |= {"metavar": option.metavar or option.kind.value}
    return [option.flag or "", name], attributes


class SectionedOption(click.Option):
    """An option that `--help` lists under a heading of its own kind; `setting` is the row of the
    table that it was made from, if it was.
    """

    def __init__(
        self, *arguments: Any, section: str, setting: Option | None = None, **attributes: Any
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.section = section
        self.setting = setting


def _section(key: str) -> str:
    sections = {
        "ca": _CA,
        "ca_bundle": _CA,
        "account": _CA,
        "challenge": "Proof of control",
        "dns": "Proof of control",
        "deploy": "Deployment",
        "lock_timeout": _RUN,
        "order_timeout": _RUN,
        "random_delay": _RUN,
        "jobs": _RUN,
    }
    return sections.get(key.partition(".")[0], "Certificate")


def help_of(option: Option) -> str:
    """Return what `--help` says of a setting."""
    default = option.default
    if default in (None, (), False, True):
        return option.doc
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f"{option.doc} [default: {shown}]"


def _common(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(context.find_root().ensure_object(Invocation), name, value)

    return keep


COMMON: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
    (
        ("--home",),
        {"metavar": "DIR", "help": "Use this home directory.", "callback": _common("home")},
    ),
    (
        ("--json",),
        {"is_flag": True, "help": "Print one JSON document.", "callback": _common("json")},
    ),
    (
        ("-q", "--quiet"),
        {"is_flag": True, "help": "Print nothing but errors.", "callback": _common("quiet")},
    ),
    (
        ("-v", "--verbose"),
        {
            "count": True,
            "help": "Say each thing that happens; -vv also each request to the CA.",
            "callback": _common("verbose"),
        },
    ),
    (
        ("--debug",),
        {"is_flag": True, "help": "Show where errors come from.", "callback": _common("debug")},
    ),
)


def common_parameters() -> list[click.Parameter]:
    """Return the options that every command has, before and after its name."""
    log_file = next(option for option in OPTIONS if option.key == "log_file")
    names, attributes = _declaration(log_file)
    del attributes["cls"], attributes["section"], attributes["setting"]
    return [
        *(
            click.Option(list(each), expose_value=False, is_eager=True, **others)
            for each, others in COMMON
        ),
        click.Option(names, **attributes),
    ]


def yes_option(function: _Decorated) -> _Decorated:
    """Give a command `--yes`, which answers its confirmations."""
    option = click.option(
        "-y",
        "--yes",
        is_flag=True,
        expose_value=False,
        help="Answer confirmations with yes.",
        callback=_common("yes"),
    )
    return option(function)


def examples(*commands: str) -> str:
    """Return an epilog that shows command lines, one a line, as `--help` and manual pages have
    it.
    """
    return "\b\nExamples:\n" + "".join(f"  {each}\n" for each in commands)


def json_lines_option(function: _Decorated) -> _Decorated:
    """Give a command `--json-lines`, for programs that follow what happens."""
    option = click.option(
        "--json-lines",
        is_flag=True,
        expose_value=False,
        help="Print a line of JSON for each thing that happens, and the result as the last one.",
        callback=_common("json_lines"),
    )
    return option(function)


class Command(click.Command):
    """A command with the common options; what it returns is rendered by `certctl.cli.main`.

    `more` returns settings of plug-ins whose flags it takes as well. They are looked for when the
    command line has a flag that is none of the others, and for help and completion.
    """

    def __init__(
        self,
        *arguments: Any,
        more: Callable[[], Iterable[Option]] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.params.extend(common_parameters())
        self._more = more

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if self._more is not None and not ctx.meta.get(_NO_MORE):
            self.params += [_made(option) for option in self._more() if option.flag]
            self._more = None
        return super().get_params(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spellings = {
            spelling for each in self.params for spelling in (*each.opts, *each.secondary_opts)
        }
        given = {word.partition("=")[0] for word in args if word.startswith("--")}
        helping = ctx.resilient_parsing or not set(ctx.help_option_names).isdisjoint(args)
        ctx.meta[_NO_MORE] = given <= spellings and not helping
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        _, _, path = ctx.command_path.partition(" ")
        ctx.find_root().ensure_object(Invocation).command = path
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                section = parameter.section if isinstance(parameter, SectionedOption) else "Options"
                sections.setdefault(section, []).append(record)
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
