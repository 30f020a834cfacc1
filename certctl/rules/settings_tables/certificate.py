"""The certificate and its key."""

from __future__ import annotations

from certctl.model.errors import UsageError
from certctl.model.names import common_name
from certctl.model.spec import FAMILIES, KeyType, family
from certctl.rules.copies import canonical_key_mode
from certctl.rules.option import Kind, Option


def one_of_each_family(key_types: tuple[str, ...]) -> None:
    """Check the key types of one certificate, of which there are several. Raises `UsageError`
    unless they are one ECDSA and one RSA type.
    """
    if sorted(map(family, key_types)) != sorted(FAMILIES):
        raise UsageError(
            f"{', '.join(key_types)}: a certificate has at most one ECDSA and one RSA key",
            hint="For example: --key-type ecdsa-p256 --key-type rsa-2048",
        )


def _window(value: object) -> str:
    from certctl.rules.windows import canonical_window  # noqa: PLC0415 - few certificates have any

    return canonical_window(value)


CERTIFICATE_OPTIONS: tuple[Option, ...] = (
    Option(
        "key_type",
        Kind.CHOICE,
        KeyType.ECDSA_P256.value,
        "Key type for the certificate. Two of them, one ECDSA and one RSA, give two certificates "
        "for the same names, so that a server can offer each client the one it supports.",
        brief="Key type, such as rsa-2048.",
        flag="--key-type",
        metavar="TYPE",
        choices=tuple(each.value for each in KeyType),
        in_spec=True,
        several=True,
        together=one_of_each_family,
    ),
    Option(
        "reuse_key",
        Kind.BOOLEAN,
        False,
        "Keep the same private key when the certificate is renewed, or generate a new one.",
        brief="Keep the private key on renewal.",
        flag="--reuse-key/--new-key",
        in_spec=True,
    ),
    Option(
        "profile",
        Kind.TEXT,
        None,
        "Certificate profile to request if the CA offers it; otherwise use the CA's default.",
        flag="--profile",
        metavar="NAME",
        in_spec=True,
    ),
    Option(
        "required_profile",
        Kind.TEXT,
        None,
        "Certificate profile to request; fail if the CA does not offer it.",
        flag="--required-profile",
        metavar="NAME",
        in_spec=True,
    ),
    Option(
        "preferred_chain",
        Kind.TEXT,
        None,
        "If the CA offers several chains, use the one whose topmost issuer has this common name; "
        "'shortest' uses the one with the fewest certificates.",
        flag="--preferred-chain",
        metavar="CN",
        in_spec=True,
    ),
    Option(
        "common_name",
        Kind.TEXT,
        None,
        "Name for the subject of the certificate, for a CA that insists on a common name: one of "
        "the names, of at most 64 characters. Empty for none.",
        flag="--common-name",
        metavar="NAME",
        in_spec=True,
        in_file=False,
        variable="",
        canonical=common_name,
    ),
    Option(
        "csr",
        Kind.TEXT,
        None,
        "SHA-256 of the certificate signing request stored next to this file. Set by --csr.",
        in_spec=True,
        in_file=False,
        variable="",
    ),
    Option(
        "autorenew",
        Kind.BOOLEAN,
        True,
        "Renew the certificate automatically when it is due.",
        flag="--autorenew/--no-autorenew",
        in_spec=True,
    ),
    Option(
        "order_window",
        Kind.TEXTS,
        (),
        "When `renew` may order the certificate, such as 'Mon-Fri 02:00-05:00 Europe/Berlin'. Can "
        "be repeated; empty for any time.",
        flag="--order-window",
        metavar="WINDOW",
        in_spec=True,
        variable="",
        canonical=_window,
    ),
    Option(
        "deploy_window",
        Kind.TEXTS,
        (),
        "When `renew` may deploy a new version, in the same form. Until then, the new version is "
        "in the archive, and the live one stays.",
        flag="--deploy-window",
        metavar="WINDOW",
        in_spec=True,
        variable="",
        canonical=_window,
    ),
    Option(
        "allow_subset",
        Kind.BOOLEAN,
        False,
        "If some names fail validation, issue the certificate for the others. The failed names "
        "are tried again later.",
        flag="--allow-subset/--all-names",
        in_spec=True,
    ),
    Option(
        "key_group",
        Kind.TEXT,
        None,
        "Unix group that can read the private key.",
        flag="--key-group",
        metavar="GROUP",
        in_spec=True,
    ),
    Option(
        "key_mode",
        Kind.TEXT,
        None,
        "File mode of the private key: 0600, or 0640 (the default with --key-group).",
        flag="--key-mode",
        metavar="MODE",
        in_spec=True,
        canonical=canonical_key_mode,
    ),
)
