"""Map failures of a folder or bucket to our errors, with a hint that says what to do.

Credentials and endpoints come from the environment variables that obstore, polars and the clouds' own tools share.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from cortex_jupyter.errors import ArchiveError


class _Variables(NamedTuple):
    credentials: str
    endpoint: str


_S3: Final = _Variables("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL, AWS_REGION")
_GCS: Final = _Variables("GOOGLE_APPLICATION_CREDENTIALS, the path of a key file", "GOOGLE_BASE_URL")
_AZURE: Final = _Variables(
    "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_ENDPOINT"
)
_CLOUDS: Final = {"s3": _S3, "s3a": _S3, "gs": _GCS, "az": _AZURE, "abfs": _AZURE, "abfss": _AZURE}

#: Addresses where the three clouds serve a machine's credentials. obstore asks there if the environment has none.
_METADATA_SERVERS: Final = re.compile(r"//169\.254\.169\.254/|//metadata\.google\.internal/")
#: obstore has its own exceptions for a refusal, except while it lists objects or asks for a token: then only its text tells.
_REFUSED: Final = re.compile(r"status code: 40[13]\b|token request: .* status code: 400\b")
#: Finds in obstore's text the address of its request (left out if it holds a secret), the status, and the cloud's own
#: code.
_ANSWER: Final = re.compile(r"performing [A-Z]+ (?:\w+://([^/\s]+)|REDACTED).*? status code: (\d+[^:\n]*)", re.DOTALL)
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_ADDRESS_HINT: Final = "write a folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"


def bad_address(url: str, error: Exception | None = None) -> ArchiveError:
    """Return the error for a URL that cannot be an archive.

    Examples
    --------
    >>> bad_address("az://logs", ValueError("Account must be specified")).hint
    'set AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN'
    >>> bad_address("az://").hint
    'write a folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix'
    """
    cloud = _CLOUDS.get(urlsplit(url).scheme)
    message = f"{url[:200]!r} cannot be an archive{f': {shorten_message(str(error))}' if error else ''}"
    return ArchiveError(message, f"set {cloud.credentials}" if cloud and urlsplit(url).netloc else _ADDRESS_HINT)


def access_error(url: str, action: str, error: Exception, *, refused: bool = False) -> ArchiveError:
    """Return the error for a failed operation.

    Parameters
    ----------
    url : str
        Path or URL of an object.
    action : str
        What failed: `read`, `written`, `listed` or `deleted`.
    error : Exception
        Exception of obstore.
    refused : bool, optional
        The failure is known to be a refusal.

    Examples
    --------
    >>> print(access_error("gs://logs/x", "read", OSError("Error performing GET http://169.254.169.254/computeMetadata/v1")))
    gs://logs/x cannot be read: there are no credentials for it
    <BLANKLINE>
    hint: set GOOGLE_APPLICATION_CREDENTIALS, the path of a key file, or run where the machine or the pod has a role
    >>> access_error("/logs/x", "read", OSError("I/O error")).hint.partition(";")[0]
    'check the address and whether the folder can be read and written'
    >>> access_error("https://example.org/logs/x", "read", OSError("error sending request")).hint.partition(";")[0]
    'check the address and the network'
    """
    cloud, text = _CLOUDS.get(urlsplit(url).scheme), str(error)
    if cloud and _METADATA_SERVERS.search(text):
        hint = f"set {cloud.credentials}, or run where the machine or the pod has a role"
        return ArchiveError(f"{url} cannot be {action}: there are no credentials for it", hint)
    if refused or _REFUSED.search(text):
        hint = (
            f"check the credentials ({cloud.credentials}) and their permissions there"
            if cloud
            else "check the permissions there"
        )
        return ArchiveError(f"{url} cannot be {action}, access is refused: {shorten_message(text)}", hint)
    if cloud:
        also = f", the network and the endpoint ({cloud.endpoint})"
    elif urlsplit(url).scheme in ("", "file"):
        also = " and whether the folder can be read and written"
    else:
        also = " and the network"
    hint = f"check the address{also}; what is recorded stays in the store until it is archived"
    return ArchiveError(f"{url} cannot be {action}: {shorten_message(text)}", hint)


def shorten_message(text: str) -> str:
    r"""Shorten obstore's message to the server and its answer; without an answer, to the first line.

    Examples
    --------
    >>> shorten_message("Generic S3 error: Error performing list request: Error performing GET http://h:1/logs?prefix=x in 4.1ms"
    ...       " - Server returned non-2xx status code: 404 Not Found: <Error><Code>NoSuchBucket</Code></Error>")
    'h:1 answers 404 Not Found (NoSuchBucket)'
    >>> shorten_message("Generic S3 error: HTTP error: error sending request\n\nDebug source: ...")
    'S3 error: HTTP error: error sending request'
    """
    if answer := _ANSWER.search(text):
        code = _CODE.search(text)
        return f"{answer[1] or 'the server'} answers {answer[2]}{f' ({code[1]})' if code else ''}"
    return (text.strip().splitlines() or ["no reason is given"])[0].removeprefix("Generic ")[:300]
