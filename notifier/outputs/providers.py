"""Object stores by the scheme of their URLs, and what of the environment they are told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TRUE = ("1", "true", "yes", "on", "y")
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")
_ADDRESS = re.compile(r"https?://[^/?#@]+")
_ENDPOINTS = frozenset(
    {
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT",
        "GOOGLE_BASE_URL",
        "AZURE_STORAGE_ENDPOINT",
        "AZURE_ENDPOINT",
    }
)
_FREE = frozenset(
    {
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "AZURE_FEDERATED_TOKEN_FILE",
    }
)
"""Paths, and a JSON document: these may have blanks in them."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A kind of object store. `variables` are names in the environment and what obstore calls them; of two with one
    meaning, the first that is set counts.
    """

    store: str
    """What obstore calls its class."""
    bucket: str
    """What a bucket is called there."""
    credentials: str
    """The variables to look at when they are not accepted."""
    endpoint: str
    """The variable that says where it is."""
    allow_http: str
    """The variable that lets it be plain http."""
    variables: Mapping[str, str]
    fixed: Mapping[str, str]

    def config(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What is told to obstore."""
        found: dict[str, str] = {}
        for variable, name in self.variables.items():
            if value := environ.get(variable):
                found.setdefault(name, value)
        return {**found, **self.fixed}

    def mistake(self, environ: Mapping[str, str]) -> str | None:
        """What is wrong with a variable, without its value; None if nothing is. Obstore would panic, or not say."""
        for variable in self.variables:
            value = environ.get(variable, "")
            if _UNPRINTABLE.search(value) and variable not in _FREE:
                return f"{variable} has a blank, a line break or a character outside ASCII in it"
            if value and variable in _ENDPOINTS:
                if not _ADDRESS.match(value):
                    return f"{variable} is no address that begins with https:// or http://"
                if value.startswith("http://") and not self.allows_http(environ):
                    return f"{variable} is plain http, and {self.allow_http} is not true"
        return None

    def allows_http(self, environ: Mapping[str, str]) -> bool:
        """Whether an endpoint may be plain http."""
        return environ.get(self.allow_http, "").lower() in _TRUE


def _of_their_own_name(*variables: str) -> dict[str, str]:
    return {variable: variable.lower() for variable in variables}


PROVIDERS = {
    "s3": Provider(
        store="S3Store",
        bucket="bucket",
        credentials="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        endpoint="AWS_ENDPOINT_URL",
        allow_http="AWS_ALLOW_HTTP",
        variables={
            "AWS_ENDPOINT_URL": "aws_endpoint",
            "AWS_ENDPOINT": "aws_endpoint",
            "AWS_SESSION_TOKEN": "aws_session_token",
            "AWS_TOKEN": "aws_session_token",
            **_of_their_own_name(
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY",
                "AWS_REGION",
                "AWS_DEFAULT_REGION",
                "AWS_ENDPOINT_URL_S3",
                "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
                "AWS_SKIP_SIGNATURE",
                "AWS_METADATA_ENDPOINT",
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                "AWS_ROLE_ARN",
                "AWS_ROLE_SESSION_NAME",
                "AWS_SERVER_SIDE_ENCRYPTION",
                "AWS_SSE_KMS_KEY_ID",
            ),
        },
        # Files are deleted one by one, and not every store that speaks S3 knows how to delete many.
        fixed={"aws_disable_bulk_delete": "true"},
    ),
    "gs": Provider(
        store="GCSStore",
        bucket="bucket",
        credentials="GOOGLE_APPLICATION_CREDENTIALS or GOOGLE_SERVICE_ACCOUNT",
        endpoint="GOOGLE_BASE_URL",
        allow_http="GOOGLE_ALLOW_HTTP",
        variables={
            "GOOGLE_SERVICE_ACCOUNT": "google_service_account",
            "GOOGLE_SERVICE_ACCOUNT_PATH": "google_service_account",
            **_of_their_own_name(
                "GOOGLE_SERVICE_ACCOUNT_KEY",
                "GOOGLE_APPLICATION_CREDENTIALS",
                "GOOGLE_BEARER_TOKEN",
                "GOOGLE_BASE_URL",
                "GOOGLE_SKIP_SIGNATURE",
            ),
        },
        fixed={},
    ),
    "az": Provider(
        store="AzureStore",
        bucket="container",
        credentials="AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY (or AZURE_STORAGE_SAS_TOKEN)",
        endpoint="AZURE_STORAGE_ENDPOINT",
        allow_http="AZURE_ALLOW_HTTP",
        variables={
            "AZURE_STORAGE_ACCOUNT_NAME": "azure_storage_account_name",
            "AZURE_STORAGE_ACCOUNT_KEY": "azure_storage_account_key",
            "AZURE_STORAGE_ACCESS_KEY": "azure_storage_account_key",
            "AZURE_STORAGE_SAS_TOKEN": "azure_storage_sas_key",
            "AZURE_STORAGE_SAS_KEY": "azure_storage_sas_key",
            "AZURE_STORAGE_ENDPOINT": "azure_storage_endpoint",
            "AZURE_ENDPOINT": "azure_storage_endpoint",
            **_of_their_own_name(
                "AZURE_STORAGE_TOKEN",
                "AZURE_CLIENT_ID",
                "AZURE_CLIENT_SECRET",
                "AZURE_TENANT_ID",
                "AZURE_FEDERATED_TOKEN_FILE",
                "AZURE_AUTHORITY_HOST",
                "AZURE_MSI_ENDPOINT",
            ),
        },
        fixed={},
    ),
}
