# ruff: noqa: I001 - one import per module
"""certctl for programs: `Certctl`, with its nouns, events and errors. docs/library.md explains it.

    from certctl import Certctl

Each name is loaded from its own module when it is first used (PEP 562), so that importing this
package costs nothing. Packages that extend certctl import from here too.
"""

TYPE_CHECKING = False  # as in the module typing, which takes time to import

if TYPE_CHECKING:
    from certctl.challenges.system import (
        SolverSystem as SolverSystem,
    )
    from certctl.deploy.system import (
        LiveFilesTarget as LiveFilesTarget,
        TargetSystem as TargetSystem,
    )
    from certctl.dns.system import (
        ProviderSystem as ProviderSystem,
    )
    from certctl.engine.report import (
        Report as Report,
    )
    from certctl.engine.rows import (
        CertificateView as CertificateView,
        LiveVersion as LiveVersion,
    )
    from certctl.inspection.overview import (
        CertificateDetails as CertificateDetails,
    )
    from certctl.library import (
        Certctl as Certctl,
    )
    from certctl.model.ca import (
        Account as Account,
        AccountKeyType as AccountKeyType,
        ChallengeType as ChallengeType,
        RevocationReason as RevocationReason,
    )
    from certctl.model.certificate import (
        Afterwards as Afterwards,
        CertificateFacts as CertificateFacts,
        LastError as LastError,
        Material as Material,
        RenewalDecision as RenewalDecision,
        RenewalInfo as RenewalInfo,
        RenewalState as RenewalState,
        Version as Version,
    )
    from certctl.model.delivery import (
        CertificateFiles as CertificateFiles,
        Delivery as Delivery,
        DeployResult as DeployResult,
        Deployment as Deployment,
        ProbeResult as ProbeResult,
    )
    from certctl.model.errors import (
        AccountError as AccountError,
        AccountPaused as AccountPaused,
        AcmeError as AcmeError,
        AlertFailed as AlertFailed,
        BadResponse as BadResponse,
        CaUnavailable as CaUnavailable,
        CertctlError as CertctlError,
        CertificateNotFound as CertificateNotFound,
        ChallengeError as ChallengeError,
        ConfigurationError as ConfigurationError,
        Conflict as Conflict,
        ConsentRequired as ConsentRequired,
        Declined as Declined,
        DeployFailed as DeployFailed,
        EabRequired as EabRequired,
        ExitStatus as ExitStatus,
        Failure as Failure,
        Fenced as Fenced,
        FilesDamaged as FilesDamaged,
        HookFailed as HookFailed,
        InspectionFailed as InspectionFailed,
        Interrupted as Interrupted,
        InvalidIdentifier as InvalidIdentifier,
        LockHeld as LockHeld,
        NamesMissing as NamesMissing,
        NotServed as NotServed,
        OrderFailed as OrderFailed,
        OrderTimeout as OrderTimeout,
        PlanChanged as PlanChanged,
        PropagationTimeout as PropagationTimeout,
        RateLimited as RateLimited,
        RenewalInfoUnavailable as RenewalInfoUnavailable,
        StoreCorrupt as StoreCorrupt,
        StoreError as StoreError,
        StoreNewer as StoreNewer,
        TermsChanged as TermsChanged,
        UnknownCertificate as UnknownCertificate,
        UsageError as UsageError,
        ValidationFailed as ValidationFailed,
        WebServerFailed as WebServerFailed,
        WebServerRefused as WebServerRefused,
    )
    from certctl.model.events import (
        AccountRegistered as AccountRegistered,
        CertificateFinished as CertificateFinished,
        CertificateSaved as CertificateSaved,
        CertificateStarted as CertificateStarted,
        ChallengesPresented as ChallengesPresented,
        ChallengesSeen as ChallengesSeen,
        Checking as Checking,
        Deployed as Deployed,
        Event as Event,
        Failed as Failed,
        HookFinished as HookFinished,
        HookStarted as HookStarted,
        NextCa as NextCa,
        OrderPlaced as OrderPlaced,
        OrderReady as OrderReady,
        Retrying as Retrying,
        Revoked as Revoked,
        RunStarted as RunStarted,
        Skipped as Skipped,
        Verified as Verified,
        VerifyFailed as VerifyFailed,
        Warned as Warned,
    )
    from certctl.model.identifiers import (
        Identifier as Identifier,
        IdentifierType as IdentifierType,
    )
    from certctl.model.ports import (
        Ask as Ask,
        DeployTarget as DeployTarget,
        DnsProvider as DnsProvider,
        Solver as Solver,
    )
    from certctl.model.run import (
        Outcome as Outcome,
    )
    from certctl.model.spec import (
        CertificateSpec as CertificateSpec,
        ChallengeSpec as ChallengeSpec,
        CopyFormat as CopyFormat,
        CopySpec as CopySpec,
        DeploySpec as DeploySpec,
        KeyType as KeyType,
        OnFailure as OnFailure,
        Pkcs12Encryption as Pkcs12Encryption,
        ServiceAddress as ServiceAddress,
    )
    from certctl.model.status import (
        CertificateStatus as CertificateStatus,
    )
    from certctl.model.validation import (
        Placement as Placement,
        Task as Task,
        TxtRecord as TxtRecord,
    )
    from certctl.model.values import (
        Value as Value,
    )
    from certctl.operations.forecast import (
        Action as Action,
        CaUse as CaUse,
        Forecast as Forecast,
        LimitUse as LimitUse,
        Planned as Planned,
    )
    from certctl.operations.revoke import (
        Revocation as Revocation,
    )
    from certctl.rules.options import (
        Kind as Kind,
        Option as Option,
    )
    from certctl.version import (
        VERSION as VERSION,
    )

_PLACES = {
    "challenges.system": ("SolverSystem",),
    "deploy.system": ("LiveFilesTarget", "TargetSystem"),
    "dns.system": ("ProviderSystem",),
    "engine.report": ("Report",),
    "engine.rows": ("CertificateView", "LiveVersion"),
    "inspection.overview": ("CertificateDetails",),
    "library": ("Certctl",),
    "model.ca": ("Account", "AccountKeyType", "ChallengeType", "RevocationReason"),
    "model.certificate": (
        "Afterwards",
        "CertificateFacts",
        "LastError",
        "Material",
        "RenewalDecision",
        "RenewalInfo",
        "RenewalState",
        "Version",
    ),
    "model.delivery": ("CertificateFiles", "Delivery", "DeployResult", "Deployment", "ProbeResult"),
    "model.errors": (
        "AccountError",
        "AccountPaused",
        "AcmeError",
        "AlertFailed",
        "BadResponse",
        "CaUnavailable",
        "CertctlError",
        "CertificateNotFound",
        "ChallengeError",
        "ConfigurationError",
        "Conflict",
        "ConsentRequired",
        "Declined",
        "DeployFailed",
        "EabRequired",
        "ExitStatus",
        "Failure",
        "Fenced",
        "FilesDamaged",
        "HookFailed",
        "InspectionFailed",
        "Interrupted",
        "InvalidIdentifier",
        "LockHeld",
        "NamesMissing",
        "NotServed",
        "OrderFailed",
        "OrderTimeout",
        "PlanChanged",
        "PropagationTimeout",
        "RateLimited",
        "RenewalInfoUnavailable",
        "StoreCorrupt",
        "StoreError",
        "StoreNewer",
        "TermsChanged",
        "UnknownCertificate",
        "UsageError",
        "ValidationFailed",
        "WebServerFailed",
        "WebServerRefused",
    ),
    "model.events": (
        "AccountRegistered",
        "CertificateFinished",
        "CertificateSaved",
        "CertificateStarted",
        "ChallengesPresented",
        "ChallengesSeen",
        "Checking",
        "Deployed",
        "Event",
        "Failed",
        "HookFinished",
        "HookStarted",
        "NextCa",
        "OrderPlaced",
        "OrderReady",
        "Retrying",
        "Revoked",
        "RunStarted",
        "Skipped",
        "Verified",
        "VerifyFailed",
        "Warned",
    ),
    "model.identifiers": ("Identifier", "IdentifierType"),
    "model.ports": ("Ask", "DeployTarget", "DnsProvider", "Solver"),
    "model.run": ("Outcome",),
    "model.spec": (
        "CertificateSpec",
        "ChallengeSpec",
        "CopyFormat",
        "CopySpec",
        "DeploySpec",
        "KeyType",
        "OnFailure",
        "Pkcs12Encryption",
        "ServiceAddress",
    ),
    "model.status": ("CertificateStatus",),
    "model.validation": ("Placement", "Task", "TxtRecord"),
    "model.values": ("Value",),
    "operations.forecast": ("Action", "CaUse", "Forecast", "LimitUse", "Planned"),
    "operations.revoke": ("Revocation",),
    "rules.options": ("Kind", "Option"),
    "version": ("VERSION",),
}
"""The modules with their public names, as type checkers see them above."""


if not TYPE_CHECKING:  # or type checkers would take every name for one of this module

    def __getattr__(name: str) -> object:
        """Return a public name, loading its module."""
        for place, names in _PLACES.items():
            if name in names:
                from importlib import import_module  # noqa: PLC0415 - for programs only

                found: object = getattr(import_module(f"certctl.{place}"), name)
                globals()[name] = found
                return found
        raise AttributeError(f"module 'certctl' has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(name for names in _PLACES.values() for name in names)
