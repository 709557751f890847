"""The gateway's own certificates: a root CA, and a server certificate that it signs.

Devices trust the root CA, as they trust Amazon's. The certificates of devices are the registry's matter.
"""

import hashlib
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from contracts.errors import ConfigError

ROOT, SERVER, SERVER_KEY = "root-ca.pem", "server.pem.crt", "server.key"
ROOT_KEY = "root-ca.key"

ROOT_YEARS, SERVER_DAYS = 10, 397
"""A server certificate of more than 398 days is refused by some clients (CA/Browser Forum)."""

RENEW_DAYS = 30
NAMES = ("localhost", "127.0.0.1", "::1")

ALPN = ["x-amzn-mqtt-ca", "mqtt"]
"""What AWS's SDKs ask for on port 443; a client that asks for nothing gets nothing."""


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """Files of the server, and the PEM of the root that devices must trust."""

    certificate: Path
    key: Path
    root_ca: str


def certificate_id(der: bytes) -> str:
    """As AWS IoT names a certificate: SHA-256 of its DER encoding, in hexadecimal."""
    return hashlib.sha256(der).hexdigest()


def server_identity(folder: Path, *, names: Sequence[str] = NAMES) -> ServerIdentity:
    """Those in the folder, made where they are missing, about to expire or for other names.

    The root stays as long as it is valid, so that devices keep trusting it. Raises ConfigError.
    """
    try:
        return _identity(folder, names)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"broker.pki {folder} cannot be used: {error}",
            fix="give a folder that the gateway made or may make, or leave it out: then its CA lives as long as the process",
        ) from None


def _identity(folder: Path, names: Sequence[str]) -> ServerIdentity:
    folder.mkdir(parents=True, exist_ok=True)
    root, root_key = _root(folder)
    if not _is_good(folder / SERVER, root, names) or not (folder / SERVER_KEY).exists():
        key = ec.generate_private_key(ec.SECP256R1())
        _write_key(folder / SERVER_KEY, key)
        _write(folder / SERVER, _pem(_server(root, root_key, key, names)) + _pem(root))
    return ServerIdentity(folder / SERVER, folder / SERVER_KEY, _pem(root).decode())


def server_context(identity: ServerIdentity) -> ssl.SSLContext:
    """Mutual TLS 1.2 or newer. A client's certificate must be a trust anchor, or end in one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(identity.certificate, identity.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(ALPN)
    return context


def _root(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    if (folder / ROOT).exists() and (folder / ROOT_KEY).exists():
        root = x509.load_pem_x509_certificate((folder / ROOT).read_bytes())
        key = serialization.load_pem_private_key((folder / ROOT_KEY).read_bytes(), password=None)
        if isinstance(key, ec.EllipticCurvePrivateKey) and _days_left(root) > RENEW_DAYS:
            return root, key
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "thingstorm root CA")])
    root = (
        _builder(name, name, key.public_key(), days=ROOT_YEARS * 365)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_key(folder / ROOT_KEY, key)
    _write(folder / ROOT, _pem(root))
    return root, key


def _server(
    root: x509.Certificate,
    root_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    names: Sequence[str],
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
    return (
        _builder(subject, root.subject, key.public_key(), days=SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName([_general_name(one) for one in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(issuer, critical=False)
        .sign(root_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _is_good(path: Path, root: x509.Certificate, names: Sequence[str]) -> bool:
    if not path.exists():
        return False
    known = x509.load_pem_x509_certificate(path.read_bytes())
    named = known.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    same = list(named) == [_general_name(one) for one in names]
    return same and _is_signed_by(known, root) and _days_left(known) > RENEW_DAYS


def _is_signed_by(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, InvalidSignature):
        return False
    return True


def _days_left(certificate: x509.Certificate) -> int:
    return (certificate.not_valid_after_utc - datetime.now(UTC)).days


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    body = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(path, body)


def _write(path: Path, body: bytes) -> None:
    """Whole or not at all, and for nobody else to read."""
    fresh = path.with_name(path.name + ".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(body)
    fresh.replace(path)
