"""The DNS providers and their options."""

from __future__ import annotations

from collections.abc import Sequence

from certctl.dns import lexicon
from certctl.dns.loading import kind_of, options_of, provider_names
from certctl.model.lazy_dataclass import dataclass
from certctl.rules.credentials import is_secret
from certctl.rules.options import Option
from certctl.system.installation import install_command


@dataclass(frozen=True)
class ProviderView:
    """A provider: `origin` is certctl, plug-in or lexicon; `needs` is the command that installs
    what it requires, None if nothing is missing.
    """

    name: str
    origin: str
    needs: str | None


@dataclass(frozen=True)
class ProviderDetails:
    """A provider with its options."""

    view: ProviderView
    options: Sequence[Option]

    @property
    def example(self) -> str:
        """An example table for certctl.toml; secrets are in files next to it."""
        lines = ["# Omit what you do not need."] if len(self.options) > 2 else []
        lines += [f"[dns.credentials.{self.view.name}]", f'provider = "{self.view.name}"']
        for option in self.options:
            name = option.key.rpartition(".")[2]
            if name == "ttl" or (option.default is not None and not option.secret):
                continue
            if option.secret:
                lines.append(f'{name}_file = "secrets/{self.view.name}.{name}"')
            elif not _file_of_a_secret(name, self.options):
                lines.append(f'{name} = "..."')
        return "\n".join(lines)


def providers(word: str = "") -> list[ProviderView]:
    """Return the providers whose name contains the word, sorted, with Lexicon's if installed."""
    return [_view(name) for name in provider_names() if word.lower() in name]


def provider(name: str) -> ProviderDetails:
    """Return a provider with its options. Raises `UsageError` if no provider has that name."""
    return ProviderDetails(_view(name), options_of(name))


def more_to_install() -> str | None:
    """Return the command that installs Lexicon's providers; None if they are installed."""
    return None if lexicon.names() else install_command(lexicon.DISTRIBUTION)


def _view(name: str) -> ProviderView:
    origin = kind_of(name)
    return ProviderView(
        name, origin, lexicon.missing_requirement(name) if origin == "lexicon" else None
    )


def _file_of_a_secret(name: str, options: Sequence[Option]) -> bool:
    """Return whether the option names the file of another option, which the example already has."""
    secret = name.removesuffix("_file")
    return name != secret and (
        is_secret(secret) and any(each.key.endswith(f".{secret}") for each in options)
    )
