"""Account keys as JSON Web Keys, and signing with them (RFC 7515, RFC 8555 §6.2).

Keys are read from PEM. Only the public key and its thumbprint are ever returned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import josepy
from acme import jws
from josepy import b64

from certctl.model.errors import ConfigurationError
from certctl.model.lazy_dataclass import dataclass
from certctl.rules import keys

_CURVES: Mapping[str, josepy.JWASignature] = {
    "secp256r1": josepy.ES256,
    "secp384r1": josepy.ES384,
    "secp521r1": josepy.ES512,
}


@dataclass(frozen=True)
class ExternalAccount:
    """The credentials with which a CA's customer binds an ACME account to an existing account (RFC
    8555 §7.3.4); `hmac_key` is base64url.
    """

    kid: str
    hmac_key: str = field(repr=False)


@dataclass(frozen=True)
class Signer:
    """A private key that signs requests, for the account URL `kid` if set."""

    key: josepy.JWK = field(repr=False)
    algorithm: josepy.JWASignature
    kid: str | None = None

    @classmethod
    def load(cls, pem: bytes, kid: str | None = None) -> Signer:
        """Return a signer for an unencrypted RSA or EC private key. Raises `ConfigurationError`."""
        try:
            key = josepy.JWK.load(keys.standard_pem(pem))
        except (josepy.Error, ValueError, TypeError):
            # The cause may quote the key.
            raise _unusable("it cannot be read") from None
        if isinstance(key, josepy.JWKRSA):
            return cls(key, josepy.RS256, kid)
        algorithm = _CURVES.get(key.key.curve.name) if isinstance(key, josepy.JWKEC) else None
        if algorithm is None:
            raise _unusable("it is neither RSA nor EC P-256, P-384 or P-521")
        return cls(key, algorithm, kid)

    @property
    def public_jwk(self) -> dict[str, Any]:
        """The public key as a JWK."""
        public: dict[str, Any] = self.key.public_key().to_json()
        return public

    @property
    def thumbprint(self) -> str:
        """The key's SHA-256 thumbprint in base64url (RFC 7638), as used in key authorizations."""
        return base64url(self.key.thumbprint())

    def sign(self, payload: bytes, *, url: str, nonce: bytes | None) -> str:
        """Return `payload` as a flattened JWS with `kid`, or with the public key if it is None."""
        if self.kid is not None and nonce is not None:
            return self._for_account(payload, url, nonce, self.kid)
        signed = jws.JWS.sign(
            payload, key=self.key, alg=self.algorithm, nonce=nonce, url=url, kid=self.kid
        )
        return str(signed.json_dumps())

    def _for_account(self, payload: bytes, url: str, nonce: bytes, kid: str) -> str:
        """Return what `sign` does for all requests but the first of an account. The objects of acme
        and josepy for each request would take twice as long as the signature.
        """
        header = {"alg": self.algorithm.name, "nonce": base64url(nonce), "url": url, "kid": kid}
        protected, content = base64url(json.dumps(header).encode()), base64url(payload)
        signature = self.algorithm.sign(self.key.key, f"{protected}.{content}".encode())
        return json.dumps(
            {"protected": protected, "payload": content, "signature": base64url(signature)}
        )


def key_change(new: Signer, old: Signer, *, url: str) -> dict[str, Any]:
    """Return the payload of a key change (RFC 8555 §7.3.5): it contains the old key, and is signed
    by the new one.
    """
    inner = json.dumps({"account": old.kid, "oldKey": old.public_jwk}).encode()
    signed: dict[str, Any] = json.loads(
        Signer(new.key, new.algorithm).sign(inner, url=url, nonce=None)
    )
    return signed


def external_binding(
    external: ExternalAccount, signer: Signer, *, new_account_url: str
) -> dict[str, Any]:
    """Return the `externalAccountBinding` of a registration (RFC 8555 §7.3.4). Raises
    `ConfigurationError` for an HMAC key that is not base64url.
    """
    # Some CAs display the key in plain base64, with padding.
    text = "".join(external.hmac_key.split()).rstrip("=").replace("+", "-").replace("/", "_")
    try:
        hmac_key = b64.b64decode(text)
    except (ValueError, TypeError):
        hmac_key = b""
    if not hmac_key:
        raise ConfigurationError(
            "the HMAC key for the external account binding is not valid base64url",
            hint="Copy it again from the CA's website, without quotes.",
            code="configuration.eab_hmac_key",
        )
    binding = Signer(josepy.JWKOct(key=hmac_key), josepy.HS256, external.kid)
    account_key = json.dumps(signer.public_jwk).encode()
    signed: dict[str, Any] = json.loads(binding.sign(account_key, url=new_account_url, nonce=None))
    return signed


def base64url(data: bytes) -> str:
    """Return `data` in base64url without padding (RFC 8555 §6.1)."""
    return b64.b64encode(data).decode("ascii")


def _unusable(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the private key cannot sign requests to a CA: {why}",
        hint="Provide an unencrypted RSA or EC private key in PEM format.",
        code="configuration.key",
    )
