"""The home directory, the CA and accounts."""

from __future__ import annotations

from certctl.model.ca import AccountKeyType
from certctl.rules.option import Kind, Option

CA_OPTIONS: tuple[Option, ...] = (
    Option(
        "home",
        Kind.PATH,
        None,
        "Home directory of certctl, with its settings, certificates and keys. Default: "
        "/etc/certctl for root, ~/.config/certctl for other users.",
        flag="--home",
        metavar="DIR",
        in_file=False,
    ),
    Option(
        "ca",
        Kind.TEXT,
        "letsencrypt",
        "Certificate authority: letsencrypt, letsencrypt-staging, zerossl, google, sslcom, "
        "actalis, the URL of an ACME directory, or dev for the built-in development CA. Can be "
        "repeated: the next CA is asked while those before it are out of service.",
        brief="Name or directory URL of the CA.",
        flag="--ca",
        metavar="NAME|URL",
        in_spec=True,
        several=True,
    ),
    Option(
        "ca_bundle",
        Kind.PATH,
        None,
        "PEM file of root certificates to trust when connecting to the CA, for a private CA. "
        "Default: the public ones and those that this system trusts.",
        flag="--ca-bundle",
        in_spec=True,
    ),
    Option(
        "account.id",
        Kind.TEXT,
        None,
        "Account to use if this machine has several at the CA; `certctl account show` lists them.",
        flag="--account",
        metavar="ID",
        in_spec=True,
        variable="CERTCTL_ACCOUNT",
    ),
    Option(
        "account.email",
        Kind.TEXTS,
        (),
        "Contact email address of the account. Can be repeated.",
        brief="Contact address of a new account.",
        flag="--email",
        metavar="ADDRESS",
        variable="CERTCTL_EMAIL",
    ),
    Option(
        "account.agree_tos",
        Kind.BOOLEAN,
        False,
        "Agree to the terms of service of the CA.",
        brief="Agree to the CA's terms of service.",
        flag="--agree-tos",
        variable="CERTCTL_AGREE_TOS",
    ),
    Option(
        "account.key_type",
        Kind.CHOICE,
        AccountKeyType.ES256.value,
        "Key type for a new account, or for its new key.",
        flag="--account-key-type",
        choices=tuple(each.value for each in AccountKeyType),
    ),
    Option(
        "account.eab_kid",
        Kind.TEXT,
        None,
        "Key identifier for external account binding (EAB), issued by the CA.",
        flag="--eab-kid",
        metavar="KID",
        variable="CERTCTL_EAB_KID",
    ),
    Option(
        "account.eab_hmac_key",
        Kind.TEXT,
        None,
        "HMAC key for external account binding (EAB), in base64url.",
        secret=True,
        in_file=False,
        variable="CERTCTL_EAB_HMAC_KEY",
    ),
    Option(
        "account.eab_hmac_key_file",
        Kind.PATH,
        None,
        "File with the HMAC key for external account binding (EAB). Other users must not be able "
        "to read it.",
        flag="--eab-hmac-key-file",
        variable="CERTCTL_EAB_HMAC_KEY_FILE",
    ),
)
