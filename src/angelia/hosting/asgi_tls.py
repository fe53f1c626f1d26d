"""The TLS extension of ASGI: what an application is told of a connection's encryption.

Owns: which key a fact becomes. Knows nothing of requests.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

__all__ = ("tls_facts",)

# RFC 8446 §4.2.1, RFC 5246 §A.1.
_VERSIONS: Final = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
# RFC 4514 §3: the short names of the types of a distinguished name.
_SHORT_NAMES: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


def tls_facts(tls: ssl.SSLObject) -> dict[str, Any]:
    """The extension's keys, of a handshake that is over."""
    cipher = tls.cipher()
    der = tls.getpeercert(binary_form=True)
    name = None
    if der is not None:
        # Empty where the certificate was not checked.
        name = _distinguished_name((tls.getpeercert() or {}).get("subject", ()))
    return {
        # Python does not tell which of a context's certificates was sent.
        "server_cert": None,
        "client_cert_chain": [] if der is None else [ssl.DER_cert_to_PEM_cert(der)],
        "client_cert_name": name,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(tls.version() or ""),
        "cipher_suite": None if cipher is None else _cipher_suite(tls.context, cipher[0]),
    }


def _cipher_suite(context: ssl.SSLContext, name: str) -> int | None:
    """The number of a cipher suite, which is the lower half of OpenSSL's."""
    for cipher in context.get_ciphers():
        if cipher["name"] == name:
            return int(cipher["id"]) & 0xFFFF
    return None


def _distinguished_name(subject: Any) -> str | None:
    """RFC 4514 §2: the last part first."""
    parts = [
        "+".join(f"{_SHORT_NAMES.get(k, k)}={_escaped(v)}" for k, v in part) for part in subject
    ]
    return ",".join(reversed(parts)) or None


def _escaped(value: str) -> str:
    """RFC 4514 §2.4."""
    text = "".join(f"\\{char}" if char in '"+,;<>\\' else char for char in value)
    text = text.replace("\0", "\\00")
    if text[:1] in ("#", " "):
        text = f"\\{text}"
    if len(value) > 1 and value.endswith(" "):
        text = f"{text[:-1]}\\ "
    return text
