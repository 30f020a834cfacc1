"""TXT records by somebody's own command: one call a record, the facts in its environment, or as the
hooks of other clients are called.

Nothing that came from a CA or from the DNS is ever read by a shell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from certctl import persistent_validation
from certctl.dns.system import ProviderSystem
from certctl.errors import ChallengeError, ConfigurationError
from certctl.hook_protocols import (
    DNS_PROTOCOLS,
    NEED_RECORD_NAME,
    HookAction,
    HookAnswer,
    HookProtocol,
    chosen_protocol,
)
from certctl.models import ChallengeType, TxtRecord, Value
from certctl.options import Kind, Option
from certctl.ports import DnsProvider

OPTIONS: tuple[Option, ...] = (
    Option(
        "dns.exec.hook",
        Kind.TEXT,
        None,
        "Command that writes and removes TXT records: run with `present` or `cleanup` as its last"
        " argument, and the record in CERTCTL_DNS_NAME, CERTCTL_DNS_VALUE and CERTCTL_DNS_ZONE.",
        flag="--dns-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_DNS_HOOK",
    ),
    Option(
        "dns.exec.cleanup_hook",
        Kind.TEXT,
        None,
        "Command that removes TXT records; --dns-hook then only writes them, and neither gets an"
        " argument, as with certbot's --manual-auth-hook and --manual-cleanup-hook.",
        flag="--dns-cleanup-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_DNS_CLEANUP_HOOK",
    ),
    Option(
        "dns.exec.protocol",
        Kind.CHOICE,
        None,
        "Whose hook it is, and so how it is called: certctl's own, or that of another client,"
        " unchanged; certctl's by default, certbot's with --dns-cleanup-hook.",
        flag="--dns-hook-protocol",
        choices=tuple(each.value for each in DNS_PROTOCOLS),
        in_spec=True,
        variable="CERTCTL_DNS_HOOK_PROTOCOL",
    ),
)

_CODE = "challenge.dns.hook"


def create(settings: Mapping[str, Value], system: ProviderSystem) -> DnsProvider:
    """Return the provider. Raises `ConfigurationError` where no command is given, or two where the
    protocol has one.
    """
    hook = settings.get("dns.exec.hook")
    if not hook:
        raise ConfigurationError(
            "the DNS provider exec needs a command",
            hint="Give one with --dns-hook COMMAND.",
        )
    given = settings.get("dns.exec.cleanup_hook")
    cleanup_hook = str(given) if given else None
    protocol = chosen_protocol(settings.get("dns.exec.protocol"), cleanup_hook)
    return ExecProvider(str(hook), cleanup_hook, system, protocol)


class ExecProvider:
    """Runs `hook` for each record; `cleanup_hook` removes them where it is given."""

    def __init__(
        self,
        hook: str,
        cleanup_hook: str | None,
        system: ProviderSystem,
        protocol: HookProtocol | None = None,
    ) -> None:
        from certctl.system.answer_hooks import (  # noqa: PLC0415 - the options need no processes
            AnswerHooks,
            HookSettings,
        )

        manner = HookSettings(
            "the DNS hook",
            _CODE,
            "Run the command by hand with the variables CERTCTL_DNS_* set",
            system.hook_timeout,
        )
        self._protocol = protocol or chosen_protocol(None, cleanup_hook)
        self._hooks = AnswerHooks(hook, cleanup_hook, self._protocol, manner, system.stop)

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Run the hook for each record, in order. Raises `ChallengeError` at the first failure."""
        standing = f"{persistent_validation.LABEL}."
        if self._protocol not in NEED_RECORD_NAME:
            for each in records:
                if each.name.startswith(standing):
                    raise ChallengeError(
                        f"a hook of {self._protocol} cannot write {each.name}: it knows of"
                        " _acme-challenge only",
                        hint="Add the record by hand, or use another provider.",
                        code=_CODE,
                    )
        self._hooks.present([hook_answer(HookAction.PRESENT, each) for each in records])

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Run the hook for each record, whatever becomes of the others; raises the first failure.

        An interrupted run cleans up too, so that only the time limit ends these calls.
        """
        self._hooks.cleanup([hook_answer(HookAction.CLEANUP, each) for each in records])


def hook_answer(action: HookAction, record: TxtRecord) -> HookAnswer:
    """Return what a hook is told of a record."""
    return HookAnswer(
        ChallengeType.DNS_01,
        record.domain,
        record.token,
        record.value,
        record.key_authorization,
        record.name,
        facts=(
            ("CERTCTL_DNS_ACTION", action.value),
            ("CERTCTL_DNS_NAME", record.name),
            ("CERTCTL_DNS_VALUE", record.value),
            ("CERTCTL_DNS_ZONE", record.zone),
            ("CERTCTL_DNS_DOMAIN", record.domain),
        ),
    )
