"""What obstore's errors mean, in words that are safe to show. Pure functions, which do not need obstore.

An error of obstore quotes what it sent and what was answered: signatures, tokens in URLs, whatever the other side
makes of them. So nothing of it is passed on but the number of an HTTP status and the one word by which a store names
an error.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from notifier.outputs.providers import Provider

_STATUS = re.compile(r"non-2xx status code: (\d{3})\b|\(code: (\d{3})\)")
_CODE = re.compile(r"<Code>([A-Za-z]{1,64})</Code>")
_KIND = re.compile(r"HttpError \{\s*kind: ([A-Za-z]{1,32})")
_INNER = re.compile(r"InvalidCertificate|InvalidMessage|AlertReceived|PeerIncompatible|PeerMisbehaved")
_TOKEN = re.compile(
    r"TokenRequest \{|https?://[^/\s]+/(?:latest/api/token|latest/meta-data/|computeMetadata/|metadata/identity/)"
)
"""Not the store itself was asked, but whoever gives out its credentials."""
_NO_BUCKET = re.compile(r"<Code>(?:NoSuchBucket|ContainerNotFound)</Code>|The specified container does not exist")
"""The sentence is what is said of one that was to be deleted. No name of a file holds any of it."""
_FULL = re.compile(r"Quota|StorageFull|InsufficientStorage|CapExceeded|OutOfStorage")
_CREDENTIALS = frozenset(
    {
        "AuthenticationFailed",
        "AuthorizationFailure",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidAuthenticationInfo",
        "InvalidClientTokenId",
        "InvalidToken",
        "NoAuthenticationInformation",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
_REGION = frozenset({"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"})
_CONFIGURED = {
    "MissingAccessKeyId": "AWS_ACCESS_KEY_ID is missing beside AWS_SECRET_ACCESS_KEY",
    "MissingSecretAccessKey": "AWS_SECRET_ACCESS_KEY is missing beside AWS_ACCESS_KEY_ID",
    "MissingAccount": "AZURE_STORAGE_ACCOUNT_NAME is missing",
    "InvalidAccessKey": "AZURE_STORAGE_ACCOUNT_KEY is no key",
    "MissingSasComponent": "AZURE_STORAGE_SAS_TOKEN is no token",
    "OpenCredentials": "the file with the credentials cannot be opened",
    "DecodeCredentials": "the file with the credentials cannot be understood",
    "Unable to open service account file": "the file with the credentials cannot be opened",
    "Unable to decode service account file": "the file with the credentials cannot be understood",
}


class Failure(NamedTuple):
    """What was found, and the way out if there is one."""

    found: str
    way_out: str = ""
    full: bool = False
    """Whether there is no room left."""

    def __str__(self) -> str:
        return f"{self.found}; {self.way_out}" if self.way_out else self.found


def is_bucket_missing(text: str) -> bool:
    """Whether a store says of what was not found that its bucket is not there."""
    return _NO_BUCKET.search(text) is not None


def failure(text: str, provider: Provider) -> Failure:
    """What an error of obstore means, by its text; nothing of that is in the answer."""
    if is_bucket_missing(text):
        return Failure(f"there is no such {provider.bucket}", "make it, or give `outputs.directory` another")
    if status := _STATUS.search(text):
        code = _CODE.search(text)
        return _answered(int(status[1] or status[2]), code[1] if code else "", text, provider)
    if "inner: BareRedirect" in text:
        return _answered(301, "", text, provider)
    if kind := _KIND.search(text):
        return _unanswered(kind[1], text, provider)
    for sign, found in _CONFIGURED.items():
        if sign in text:
            return Failure(found, f"check {provider.credentials}")
    if "InvalidPath" in text:
        return Failure("a file beside these has a name with an empty part in it, as in a//b", "move that away")
    return Failure("obstore cannot do it", f"check the environment: {provider.credentials}, {provider.endpoint}")


def _answered(status: int, code: str, text: str, provider: Provider) -> Failure:
    said = f"{status} {code}".rstrip()
    if status == 507 or _FULL.search(code):
        return Failure(f"there is no room left ({said})", "free some, or raise the quota", full=True)
    if code in _REGION or status in (301, 307):
        return Failure(f"the {provider.bucket} is in another region ({said})", "set AWS_REGION to that")
    if code == "RequestTimeTooSkewed":
        return Failure(f"this machine's clock is wrong ({said})", "set it")
    if _TOKEN.search(text):
        return Failure(f"no credentials could be had ({said})", f"set {provider.credentials}")
    if status == 401 or code in _CREDENTIALS:
        return Failure(f"the credentials were not accepted ({said})", f"check {provider.credentials}")
    if status == 403:
        return Failure(
            f"the credentials are not accepted, or do not allow it ({said})",
            f"check {provider.credentials}; they must allow to read, write, list and delete",
        )
    if status == 404:
        return Failure(f"nothing is there ({said})", f"check {provider.endpoint}")
    if status >= 500 or status in (408, 429):
        return Failure(f"the store is not able to at the moment ({said})")
    return Failure(f"the store refused ({said})", f"check {provider.endpoint}")


def _unanswered(kind: str, text: str, provider: Provider) -> Failure:
    if _TOKEN.search(text):
        return Failure("no credentials could be had: nobody answers who would give them", f"set {provider.credentials}")
    if "InvalidCertificate" in text:
        return Failure(
            "the store's certificate is not trusted", f"check {provider.endpoint}, or name its authority: SSL_CERT_FILE"
        )
    if _INNER.search(text):
        return Failure("no TLS could be agreed on", f"check {provider.endpoint}")
    if '"dns error"' in text:
        return Failure("no such host", f"check {provider.endpoint} and the network")
    if kind == "Timeout":
        return Failure("no answer came in time", f"check {provider.endpoint} and the network")
    if kind == "Connect":
        return Failure("no connection", f"check {provider.endpoint} and the network")
    return Failure("the connection broke", f"check {provider.endpoint} and the network")
