"""TXT records with a user's command: one call per record, with the record in environment variables,
or in the hook protocol of another ACME client.

A shell never interprets data from a CA or from the DNS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from certctl.dns.system import ProviderSystem
from certctl.model.ca import ChallengeType
from certctl.model.errors import ChallengeError, ConfigurationError
from certctl.model.ports import DnsProvider
from certctl.model.validation import TxtRecord
from certctl.model.values import Value
from certctl.rules import persistent_validation
from certctl.rules.hook_protocols import (
    DNS_PROTOCOLS,
    NEED_RECORD_NAME,
    HookAction,
    HookAnswer,
    HookProtocol,
    chosen_protocol,
)
from certctl.rules.options import Kind, Option

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
        "Command that removes TXT records; --dns-hook then only writes them, and neither is passed"
        " an argument, as with certbot's --manual-auth-hook and --manual-cleanup-hook.",
        flag="--dns-cleanup-hook",
        metavar="COMMAND",
        in_spec=True,
        variable="CERTCTL_DNS_CLEANUP_HOOK",
    ),
    Option(
        "dns.exec.protocol",
        Kind.CHOICE,
        None,
        "Protocol of the hook: certctl's, or that of another ACME client whose hook is used"
        " unchanged; default: certctl's, or certbot's with --dns-cleanup-hook.",
        flag="--dns-hook-protocol",
        choices=tuple(each.value for each in DNS_PROTOCOLS),
        in_spec=True,
        variable="CERTCTL_DNS_HOOK_PROTOCOL",
    ),
)

_CODE = "challenge.dns.hook"


def create(settings: Mapping[str, Value], system: ProviderSystem) -> DnsProvider:
    """Return the provider. Raises `ConfigurationError` if no command is set, or if two are set and
    the protocol has one.
    """
    hook = settings.get("dns.exec.hook")
    if not hook:
        raise ConfigurationError(
            "the DNS provider exec needs a command",
            hint="Set it with --dns-hook COMMAND.",
        )
    given = settings.get("dns.exec.cleanup_hook")
    cleanup_hook = str(given) if given else None
    protocol = chosen_protocol(settings.get("dns.exec.protocol"), cleanup_hook)
    return ExecProvider(str(hook), cleanup_hook, system, protocol)


class ExecProvider:
    """Runs `hook` for each record; `cleanup_hook`, if set, removes the records."""

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
            ("--dns-hook", "--dns-cleanup-hook"),
        )
        self._protocol = protocol or chosen_protocol(None, cleanup_hook)
        self._hooks = AnswerHooks(hook, cleanup_hook, self._protocol, manner, system.stop)

    def check(self) -> None:
        """Raise `ConfigurationError` if a command cannot start."""
        self._hooks.require_runnable()

    def present(self, records: Sequence[TxtRecord]) -> None:
        """Run the hook for each record, in order. Raises `ChallengeError` at the first failure."""
        persistent = f"{persistent_validation.LABEL}."
        if self._protocol not in NEED_RECORD_NAME:
            for each in records:
                if each.name.startswith(persistent):
                    raise ChallengeError(
                        f"a hook with the protocol of {self._protocol} cannot write {each.name}: it"
                        " supports only _acme-challenge records",
                        hint="Add the record by hand, or use another provider.",
                        code=_CODE,
                    )
        self._hooks.present([hook_answer(HookAction.PRESENT, each) for each in records])

    def cleanup(self, records: Sequence[TxtRecord]) -> None:
        """Run the hook for each record, continuing after an error; raises the first error.

        An interrupted run cleans up too: only the time limit ends these calls.
        """
        self._hooks.cleanup([hook_answer(HookAction.CLEANUP, each) for each in records])


def hook_answer(action: HookAction, record: TxtRecord) -> HookAnswer:
    """Return what a hook is passed for a record."""
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
