"""Click commands and options: those built from the table of settings, and those that every command
has.

The option of a setting stores its value in the invocation's `flags`; it is not a parameter of the
command's function.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from certctl.cli.completion import KNOWN_VALUES, setting_values
from certctl.cli.invocation import Invocation
from certctl.model.errors import CertctlError, ConfigurationError, UsageError
from certctl.model.values import Value
from certctl.rules.options import OPTIONS, Kind, Option
from certctl.rules.settings import check, parse

GENERAL = "Options"
"""The heading of options that have no heading of their own."""
DOMAIN_VALIDATION = "Domain validation"
_CA = "CA and account"
_CERTIFICATE = "Certificate"
_DEPLOYMENT = "Deployment"
_TIMEOUTS = "Timeouts and concurrency"
SELECTION = "Selection"
_HEADINGS = (GENERAL, SELECTION, _CA, DOMAIN_VALIDATION, _CERTIFICATE, _DEPLOYMENT, _TIMEOUTS)
_PLUGIN_HEADINGS = {
    "challenge": "Challenge method",
    "dns": "DNS provider",
    "deploy": "Deploy target",
}

_HELP_ALL = "--help-all"
_SHOW_ALL = "certctl.show_all"
"""Key of a Click context: whether help lists every option of a command."""
_WITHOUT_PLUGINS = "certctl.without_plugins"
"""Key of a Click context: whether a command line can be parsed without the options of plug-ins."""

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def settings(*keys: str) -> Callable[[_Decorated], _Decorated]:
    """Return a decorator that adds the flags of these settings to a command, in this order."""
    known = {option.key: option for option in OPTIONS}
    declared = [_declaration(known[key]) for key in keys]

    def decorate(function: _Decorated) -> _Decorated:
        for names, attributes in reversed(declared):
            function = click.option(*names, **attributes)(function)
        return function

    return decorate


def setting_option(option: Option) -> click.Option:
    """Return the Click option of a setting."""
    names, attributes = _declaration(option)
    kind: type[click.Option] = attributes.pop("cls")
    return kind(names, **attributes)


def _declaration(option: Option) -> tuple[list[str], dict[str, Any]]:
    """Return the names and the attributes of the Click option of a setting."""

    def store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is None or value == ():
            return
        given = read_value(option, value, context, parameter)
        context.find_root().ensure_object(Invocation).flags[option.key] = given

    attributes: dict[str, Any] = {
        "cls": SectionedOption,
        "section": _section(option.key),
        "setting": option,
        "callback": store,
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
            attributes |= {"type": _Choice(option.choices)}
        case Kind.PATH:
            attributes |= {"type": click.Path(), "metavar": option.metavar or option.kind.value}
        case _:
            attributes |= {"metavar": option.metavar or option.kind.value}
    if option.several:
        attributes["multiple"] = True
    return [option.flag or "", name], attributes


def read_value(
    option: Option, value: Any, context: click.Context, parameter: click.Parameter
) -> Value:
    """Return the value of a setting that was given on the command line. Raises
    `ConfigurationError`, which names the option.
    """
    try:
        return parse(option, value) if isinstance(value, str) else check(option, value)
    except ConfigurationError as error:
        message = error.message.removeprefix(f"{option.key}: ")
        raise bad_value(context, parameter, error, message) from error


class _Choice(click.Choice):  # type: ignore[type-arg]  # generic since Click 8.2
    """The values of a setting, for help and completion; the setting itself checks them."""

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,  # noqa: ARG002 - Click's signature
        ctx: click.Context | None,  # noqa: ARG002 - as above
    ) -> Any:
        return value


def bad_value(
    context: click.Context,
    parameter: click.Parameter,
    error: CertctlError,
    message: str | None = None,
) -> CertctlError:
    """Return an error that also names the option with the wrong value. It has the class, the code
    and the hint of `error`, so that they are the same however the value was given.
    """
    told = error.message if message is None else message
    return type(error)(
        f"invalid value for {parameter.get_error_hint(context)}: {told}",
        hint=error.hint,
        code=error.code,
    )


class SectionedOption(click.Option):
    """An option that help lists under the heading `section`; `setting` is the row of the table it
    was built from, if any.

    Short help leaves it out if `common` is false or its setting has no `brief`.
    """

    def __init__(
        self,
        *arguments: Any,
        section: str = GENERAL,
        common: bool = True,
        setting: Option | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.section = section
        self.common = common and (setting is None or setting.brief != "")
        self.setting = setting


def by_section(parameters: Iterable[click.Parameter]) -> dict[str, list[click.Option]]:
    """Return the options among these parameters by the heading under which help lists them; the
    sections of plug-ins come last.
    """
    sections: dict[str, list[click.Option]] = {heading: [] for heading in _HEADINGS}
    for each in parameters:
        if isinstance(each, click.Option):
            heading = each.section if isinstance(each, SectionedOption) else GENERAL
            sections.setdefault(heading, []).append(each)
    return {heading: options for heading, options in sections.items() if options}


def _section(key: str) -> str:
    kind, _, rest = key.partition(".")
    plugin, dot, _ = rest.partition(".")
    if dot and kind in _PLUGIN_HEADINGS:
        return f"{_PLUGIN_HEADINGS[kind]} {plugin}"
    if key.endswith("_timeout") or key in {"random_delay", "jobs"}:
        return _TIMEOUTS
    sections = {
        "ca": _CA,
        "ca_bundle": _CA,
        "account": _CA,
        "challenge": DOMAIN_VALIDATION,
        "deploy": _DEPLOYMENT,
        "log_file": GENERAL,
    }
    return sections.get(kind, _CERTIFICATE)


def help_of(option: Option, *, short: bool = False) -> str:
    """Return the help text of a setting, with its default."""
    text = option.brief if short else option.doc
    default = option.default
    if default in (None, (), False, True):
        return text
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f"{text} [default: {shown}]"


def _stored(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return the callback of an option that sets this attribute of the invocation."""

    def store(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(context.find_root().ensure_object(Invocation), attribute, value)

    return store


def _common_option(*names: str, attribute: str, common: bool, **others: Any) -> click.Option:
    return SectionedOption(
        list(names),
        expose_value=False,
        is_eager=True,
        callback=_stored(attribute),
        common=common,
        **others,
    )


def common_parameters() -> list[click.Parameter]:
    """Return new instances of the options that every command has, before and after its name."""
    log_file = next(option for option in OPTIONS if option.key == "log_file")
    return [
        _common_option(
            "--home", attribute="home", common=False, metavar="DIR", help="Use this home directory."
        ),
        _common_option(
            "--json", attribute="json", common=False, is_flag=True, help="Print one JSON document."
        ),
        _common_option(
            "-q",
            "--quiet",
            attribute="quiet",
            common=False,
            is_flag=True,
            help="Print errors only.",
        ),
        _common_option(
            "-v",
            "--verbose",
            attribute="verbose",
            common=False,
            count=True,
            help="Print each step; -vv also prints each request to the CA.",
        ),
        _common_option(
            "--debug",
            attribute="debug",
            common=False,
            is_flag=True,
            help="Print a traceback with each error.",
        ),
        setting_option(log_file),
    ]


def _show_everything(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        context.meta[_SHOW_ALL] = True
        click.echo(context.get_help(), color=context.color)
        context.exit()


def help_all_option(*, hidden: bool) -> click.Option:
    """Return `--help-all`, which prints the help with every option; hidden where `--help` does."""
    return SectionedOption(
        [_HELP_ALL],
        is_flag=True,
        common=False,
        expose_value=False,
        is_eager=True,
        hidden=hidden,
        callback=_show_everything,
        help="Show every option, including those of DNS providers and deploy targets.",
    )


def yes_option(function: _Decorated) -> _Decorated:
    """Add `--yes` to a command, which confirms everything in advance."""
    option = click.option(
        "-y",
        "--yes",
        is_flag=True,
        expose_value=False,
        help="Answer yes to all questions.",
        callback=_stored("yes"),
    )
    return option(function)


def json_lines_option(function: _Decorated) -> _Decorated:
    """Add `--json-lines` to a command, which prints events while it runs."""
    option = click.option(
        "--json-lines",
        cls=SectionedOption,
        common=False,
        is_flag=True,
        expose_value=False,
        help="Print one line of JSON for each event, and the result as the last line.",
        callback=_stored("json_lines"),
    )
    return option(function)


def examples(*commands: str) -> str:
    """Return an epilog with these command lines, one per line, for help and manual pages."""
    return "\b\nExamples:\n" + "".join(f"  {each}\n" for each in commands)


def no_such_command(given: str, known: Iterable[str], path: str) -> UsageError:
    """Return the error for a command that does not exist; `path` is the command it was given to."""
    near = difflib.get_close_matches(given, list(known), n=1)
    hint = f"Did you mean {path} {near[0]}?" if near else f"{path} --help"
    return UsageError(
        f"{given!r} is not a command of {path}", hint=hint, code="usage.unknown_command"
    )


def _answered(given: str, context: click.Context) -> UsageError | None:
    """Return the error for a subcommand of certbot that was given to certctl."""
    if context.parent is not None:
        return None
    from certctl.rules.certbot_words import answer_for_command  # noqa: PLC0415 - for a mistake

    return answer_for_command(given)


class Group(click.Group):
    """A command with subcommands, listed in the order of their definition."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.params.append(help_all_option(hidden=True))

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - Click's signature
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args and args[0] not in known and not args[0].startswith("-"):
            _remember_command(ctx)
            raise _answered(args[0], ctx) or no_such_command(args[0], known, ctx.command_path)
        return super().resolve_command(ctx, args)


class Command(click.Command):
    """A command with the common options; `certctl.cli.main` prints the result that it returns.

    `plugin_options` returns settings of plug-ins whose flags the command also takes. It is called
    only if the command line has an unknown flag, and for `--help-all` and completion. Such a
    command has a short help: `--help` shows the common options, each on one line if possible.
    """

    def __init__(
        self,
        *arguments: Any,
        plugin_options: Callable[[], Iterable[Option]] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(*arguments, **attributes)
        self.params.extend(common_parameters())
        self._has_short_help = plugin_options is not None
        self.params.append(help_all_option(hidden=not self._has_short_help))
        self._plugin_options = plugin_options

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if self._plugin_options is not None and not ctx.meta.get(_WITHOUT_PLUGINS):
            self.params += [setting_option(each) for each in self._plugin_options() if each.flag]
            self._plugin_options = None
        return super().get_params(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {
            spelling for each in self.params for spelling in (*each.opts, *each.secondary_opts)
        }
        given = {word.partition("=")[0] for word in args if word.startswith("--")}
        needs_all = ctx.resilient_parsing or _HELP_ALL in args
        ctx.meta[_WITHOUT_PLUGINS] = not needs_all and given <= {*known, *ctx.help_option_names}
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # Click's parser leaves it out of some errors
            raise
        except CertctlError:
            _remember_command(ctx)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        _remember_command(ctx)
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        short = self._is_short(ctx)
        for heading, options in by_section(self.get_params(ctx)).items():
            records = [
                record
                for option in options
                for record in (_short_records if short else _records)(option, ctx)
            ]
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self._is_short(ctx):
            formatter.write_paragraph()
            formatter.write_text(f"All options and examples: {ctx.command_path} {_HELP_ALL}")
        else:
            super().format_epilog(ctx, formatter)

    def _is_short(self, ctx: click.Context) -> bool:
        return self._has_short_help and not ctx.meta.get(_SHOW_ALL)


def _remember_command(ctx: click.Context) -> None:
    """Store the name of the command for the document that reports its result."""
    _, _, path = ctx.command_path.partition(" ")
    ctx.find_root().ensure_object(Invocation).command = path


def _records(option: click.Option, ctx: click.Context) -> list[tuple[str, str]]:
    """Return what help shows of an option: its names and its text, or nothing if it is hidden."""
    record = option.get_help_record(ctx)
    return [] if record is None else [record]


def _short_records(option: click.Option, ctx: click.Context) -> list[tuple[str, str]]:
    """Return what short help shows of an option, or nothing."""
    if not isinstance(option, SectionedOption):
        return _records(option, ctx)
    if not option.common:
        return []
    setting = option.setting
    if setting is None:
        return _records(option, ctx)
    text = help_of(setting, short=True)
    if setting.kind is Kind.CHOICE and setting.metavar:
        return [(f"{setting.flag} {setting.metavar}", text)]
    return [(names, text) for names, _ in _records(option, ctx)]


def help_of_command(command: click.Command, context: click.Context) -> str:
    """Return what `--help` prints for a command; `context` is its own."""
    context.meta[_WITHOUT_PLUGINS] = True
    return command.get_help(context)
