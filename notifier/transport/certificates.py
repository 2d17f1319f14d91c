"""Whom to trust: the CA bundle that the machine's owner named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import certifi

from notifier.errors import NotifierError

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Requests' own two first, then OpenSSL's: what most programs on the machine go by."""


class CaBundleError(NotifierError):
    """The CA bundle cannot be used. Without one, every exchange over TLS would fail."""

    exit_code = 78


def ca_bundle(environment: Mapping[str, str]) -> Path:
    """The file (or the folder of hashed certificates) named by the first of VARIABLES that is set, else certifi's.

    Raises CaBundleError, naming the variable, if it is not there, cannot be read or holds no certificate.
    """
    name = next((name for name in VARIABLES if environment.get(name)), None)
    if name is None:
        return Path(certifi.where())
    bundle = Path(environment[name])
    try:
        if bundle.is_dir():
            return bundle
        usable = b"-----BEGIN " in bundle.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CaBundleError(f"{name} names a CA bundle that cannot be read: {bundle}: {reason}") from None
    if not usable:
        raise CaBundleError(f"{name} names a file that holds no certificate: {bundle}")
    return bundle
