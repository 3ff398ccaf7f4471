"""The key that Content Credentials are signed with: the user's own, or one made on this machine."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mien.errors import InputError, OutputError, needs_extra
from mien.utils.text import shown
from mien.weights.store import cache_folder

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CERTIFICATE: Final = "MIEN_SIGN_CERT"
KEY: Final = "MIEN_SIGN_KEY"
TIMESTAMPS: Final = "MIEN_SIGN_TSA"
"""Environment variables: PEM files of the certificate chain and the key, a timestamp server."""

LOCAL_NAME: Final = "mien on this computer"
_LOCAL_FILE: Final = "signing.pem"
_DAYS: Final = 3650
_PEM: Final = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A certificate chain and its key.

    Attributes:
        algorithm: C2PA's name: ``es256`` …
        certificates: PEM, the signer's own first.
        key: PEM, without a password.
        signer: name in the certificate.
        timestamps: address of an RFC 3161 server; empty for none.
    """

    algorithm: str
    certificates: bytes
    key: bytes
    signer: str
    timestamps: str = ""


def wants_own_key() -> bool:
    """Return whether the user has named a key."""
    return any(os.environ.get(name) for name in (CERTIFICATE, KEY))


def signing_key() -> SigningKey:
    """Return the user's key, or the local one, which is made at first use.

    Raises:
        InputError: when the variables name no usable certificate and key.
        OutputError: when the local key cannot be stored.
        MissingExtraError: when variables name a key and the extra is not installed.
    """
    named = {name: os.environ.get(name, "") for name in (CERTIFICATE, KEY)}
    timestamps = os.environ.get(TIMESTAMPS, "")
    with needs_extra("provenance", "Signing"):
        import cryptography  # noqa: F401
    if not any(named.values()):
        return _parsed(_local_pem(), "the local key", timestamps)
    missing = [name for name, value in named.items() if not value]
    if missing:
        raise InputError(f"{CERTIFICATE} and {KEY} belong together; {missing[0]} is not set.")
    try:
        chain, key = (Path(named[name]).expanduser().read_bytes() for name in (CERTIFICATE, KEY))
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}).") from error
    return _parsed(key + b"\n" + chain, f"{CERTIFICATE} and {KEY}", timestamps)


def _parsed(pem: bytes, origin: str, timestamps: str) -> SigningKey:
    """Return the key and certificates of a PEM text; the key comes first."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.x509.oid import NameOID

    start = pem.find(_PEM)
    try:
        key = form.load_pem_private_key(pem[: max(start, 0)], password=None)
        chain = x509.load_pem_x509_certificates(pem[max(start, 0) :])
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{origin} must be PEM files: a certificate chain, the signer's first, and a key "
            f"without a password ({shown(str(error))})."
        ) from error
    public = [
        one.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)
        for one in (key.public_key(), chain[0].public_key())
    ]
    if public[0] != public[1]:
        raise InputError(f"{origin}: the key is not that of the first certificate.")
    names = chain[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return SigningKey(
        _algorithm(key, origin),
        pem[start:],
        key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()),
        str(names[0].value) if names else "unnamed",
        timestamps,
    )


def _algorithm(key: Any, origin: str) -> str:  # noqa: ANN401 - any of cryptography's key types
    """Return C2PA's name of the algorithm of a key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    name = key.curve.name if isinstance(key, ec.EllipticCurvePrivateKey) else ""
    if name not in curves:
        raise InputError(f"{origin}: the key must be ECDSA (P-256, P-384, P-521), RSA or Ed25519.")
    return curves[name]


def _local_pem() -> bytes:
    """Return key and certificates of this machine; made once, readable by its user alone."""
    path = cache_folder() / _LOCAL_FILE
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}-{os.urandom(8).hex()}")
            handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_new_pem())
                _publish(part, path)
            finally:
                part.unlink(missing_ok=True)
        return path.read_bytes()
    except OSError as error:
        raise OutputError(
            f"The signing key {shown(path)} cannot be stored or read ({error.strerror})."
        ) from error


def _publish(part: Path, path: Path) -> None:
    """Give a file its name, unless another run was first."""
    try:
        os.link(part, path)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        part.replace(path)


def _new_pem() -> bytes:
    """Make a key, its certificate and that of an authority whose key is thrown away."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509 import (
        AuthorityKeyIdentifier,
        ExtendedKeyUsage,
        SubjectKeyIdentifier,
    )
    from cryptography.x509.oid import ExtendedKeyUsageOID

    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    roots = authority.public_key()
    about = "mien local certificates"
    root = (
        _certificate(about, about, authority, is_authority=True)
        .add_extension(SubjectKeyIdentifier.from_public_key(roots), critical=False)
        .sign(authority, hashes.SHA256())
    )
    own = (
        _certificate(LOCAL_NAME, about, key, is_authority=False)
        .add_extension(ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(AuthorityKeyIdentifier.from_issuer_public_key(roots), critical=False)
        .sign(authority, hashes.SHA256())
    )
    secret = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    return secret + b"".join(one.public_bytes(form.Encoding.PEM) for one in (own, root))


def _certificate(
    name: str, issuer: str, key: EllipticCurvePrivateKey, *, is_authority: bool
) -> x509.CertificateBuilder:
    """Return a certificate to be extended and signed."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    def named(text: str) -> x509.Name:
        pairs = ((NameOID.COMMON_NAME, text), (NameOID.ORGANIZATION_NAME, "mien"))
        return x509.Name([x509.NameAttribute(kind, value) for kind, value in pairs])

    usage: Callable[..., x509.KeyUsage] = x509.KeyUsage
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(
            x509.BasicConstraints(is_authority, 0 if is_authority else None), critical=True
        )
        .add_extension(
            usage(
                digital_signature=not is_authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=is_authority,
                crl_sign=is_authority,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
