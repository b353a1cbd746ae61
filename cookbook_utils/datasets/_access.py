"""Reach rasters and texts on this machine, on web servers and in S3, with retries."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cookbook_utils._checks import needs, reasons_of, shown
from cookbook_utils._gdal import gdal_cache

TRIES = 4
"""How often a request is made before a server that is busy or fails counts as unavailable."""

RETRY_DELAY = 0.5
"""Seconds before the second try; each further try waits twice as long."""

TIMEOUT = 30.0
"""Seconds that a server may take to answer a request."""

RETRIED = (429, 500, 502, 503, 504)
"""HTTP statuses after which a request is repeated."""

MAX_TEXT_BYTES = 64 << 20
"""Size of the largest JSON document that is read."""

_S3_OPTIONS = {
    "key": "AWS_ACCESS_KEY_ID",
    "secret": "AWS_SECRET_ACCESS_KEY",
    "token": "AWS_SESSION_TOKEN",
}
_OPTIONS = ("anon", "endpoint_url", *_S3_OPTIONS, "requester_pays", "client_kwargs")


class Unreachable(OSError):  # noqa: N818  the message names the fault
    """A file could not be read; the message names it, the reason and the number of tries."""


def is_remote(address: str) -> bool:
    """Return whether an address is one of another machine, or of a server on this one."""
    return bool(re.match(r"(https?|s3)://|(/vsi(tar|zip)/\{)?/vsi(curl|s3|gs|az)/", address))


def is_web(address: str) -> bool:
    """Return whether an address is one of a web server, which lists no files."""
    return address.startswith(("http://", "https://"))


def as_address(source: str | os.PathLike[str]) -> str:
    """Return a path or address as text, without ``file://`` and with ``~`` expanded."""
    address = os.fspath(source)
    if isinstance(address, bytes):
        raise TypeError(f"source must be a path or an address, got {shown(source)}")
    if not address or "\0" in address:
        raise ValueError(f"source must be a path or an address, got {shown(source)}")
    if address.startswith("file://"):
        from fsspec.core import strip_protocol

        path = strip_protocol(address)
        return next(filter(os.path.exists, (path, unquote(path))), path)
    return address if is_remote(address) else os.path.expanduser(address)


def gdal_name(address: str) -> str:
    """Return the name by which GDAL opens a path or address."""
    if address.startswith("s3://"):
        return "/vsis3/" + address.removeprefix("s3://")
    if address.startswith(("http://", "https://")):
        return "/vsicurl/" + address
    return address


def require_storage_options(options: Any) -> dict[str, Any]:
    """Return options of S3 as s3fs names them, or raise if there are others.

    Raises
    ------
    TypeError
        If `options` is not a mapping.
    ValueError
        If it has another key than s3fs's ``anon``, ``key``, ``secret``, ``token``,
        ``endpoint_url``, ``requester_pays`` and ``client_kwargs``.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise TypeError(f"storage_options must be a mapping, got {shown(options)}")
    if unknown := [key for key in options if key not in _OPTIONS]:
        raise ValueError(
            f"storage_options must be among {', '.join(_OPTIONS)}, got {shown(unknown[0])}"
        )
    return dict(options)


def s3fs_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of ``s3fs.S3FileSystem``, anonymous where there are no credentials."""
    return {**options, "anon": options.get("anon", not _has_credentials(options))}


def _has_credentials(options: Mapping[str, Any]) -> bool:
    places = ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
              "AWS_CONTAINER_CREDENTIALS_FULL_URI",
              "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")  # fmt: skip
    files = (
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        ("AWS_CONFIG_FILE", "~/.aws/config"),
    )
    return (
        "key" in options
        or any(os.environ.get(name) for name in places)
        or any(
            os.path.exists(os.path.expanduser(os.environ.get(name, path))) for name, path in files
        )
    )


def _s3_config(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the configuration and the credentials of GDAL for S3."""
    client = dict(options.get("client_kwargs") or {})
    endpoint = (
        options.get("endpoint_url")
        or client.get("endpoint_url")
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
    )
    config: dict[str, Any] = {}
    if endpoint:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        config |= {
            "AWS_S3_ENDPOINT": parts.netloc + parts.path.rstrip("/"),
            "AWS_HTTPS": "NO" if parts.scheme == "http" else "YES",
            "AWS_VIRTUAL_HOSTING": "NO",
        }
    if region := client.get("region_name"):
        config["AWS_REGION"] = region
    if options.get("requester_pays"):
        config["AWS_REQUEST_PAYER"] = "requester"
    if s3fs_options(options)["anon"]:
        config["AWS_NO_SIGN_REQUEST"] = "YES"
    keys = {gdal: options[key] for key, gdal in _S3_OPTIONS.items() if options.get(key)}
    return config, keys


@contextlib.contextmanager
def gdal_environment(address: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Configure GDAL to read an address: retries, credentials, and no search for other files."""
    import rasterio
    from rasterio.session import DummySession

    class Keys(DummySession):  # rasterio passes keys through a session only
        def get_credential_options(self) -> dict[str, str]:
            return keys

    keys: dict[str, str] = {}
    config: dict[str, Any] = dict(gdal_cache())
    if is_remote(address):
        config |= {
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
            "GDAL_HTTP_MAX_RETRY": TRIES - 1,
            "GDAL_HTTP_RETRY_DELAY": RETRY_DELAY,
            "GDAL_HTTP_CONNECTTIMEOUT": 10,
            "GDAL_INGESTED_BYTES_AT_OPEN": 32768,  # the header of most files in one request
            "GDAL_HTTP_TIMEOUT": int(TIMEOUT),
        }
        if "/vsis3/" in gdal_name(address):
            s3, keys = _s3_config(options)
            config |= s3
    with rasterio.Env(session=Keys(), **config):
        yield


def unreachable(address: str, error: BaseException) -> Unreachable:
    """Return an error that names an address, what is wrong there and how often it was tried."""
    reasons = _reasons(error)
    place = without_secrets(address)
    if is_remote(address):
        code = _code_of(reasons)
        said = f"the server answered {code}" if code else "no answer that can be read"
        tries = TRIES if code in RETRIED or not code else 1
        detail = "" if code else f" ({reasons[-1][:200]})"
        if "Range downloading not supported" in detail:
            return Unreachable(
                f"{place} must be on a server that sends parts of files, got one that sends whole "
                "files only: download it"
            )
        return Unreachable(
            f"{place} must be a readable file, got: {said} in {tries} "
            f"{'try' if tries == 1 else 'tries'}{detail}"
        )
    if not address.startswith("/vsi") and not os.path.exists(address):
        return Unreachable(f"{place} must be a readable file, got none there")
    return Unreachable(f"{place} must be a readable raster, got: {reasons[-1][:300]}")


def _reasons(error: BaseException) -> list[str]:
    """Return the messages of an error and of those that led to it, without signatures."""
    return [re.sub(r"\?\S*|\s+", " ", reason).strip() for reason in reasons_of(error)]


def _code_of(reasons: Sequence[str]) -> int:
    """Return the HTTP status that messages name or stand for, or 0."""
    text = " ".join(reasons)
    status = re.search(r"(?:response code|HTTP error code|status)\D{0,10}(\d{3})", text)
    return int(status[1]) if status else _code_of_s3(text)


def raster_error(address: str, error: BaseException, options: Mapping[str, Any]) -> Unreachable:
    """Return `unreachable`, after GDAL has forgotten the failure, which it would repeat else.

    Of a block GDAL says only that it cannot be read; opened anew, the file gives the status.
    """
    import rasterio

    if is_remote(address):
        name = gdal_name(address)
        file = re.sub(r"/vsi(?:tar|zip)/\{(.*)\}/.*", r"\1", name)
        once = {"GDAL_HTTP_MAX_RETRY": 0, "GDAL_HTTP_TIMEOUT": 1, "CPL_VSIL_CURL_NON_CACHED": file}
        try:
            with (
                gdal_environment(address, options),
                rasterio.Env(**once),
                rasterio.open(name, sharing=False),
            ):
                pass
        except Exception as again:
            if not _code_of(_reasons(error)) and _code_of(_reasons(again)):
                return unreachable(address, again)
    return unreachable(address, error)


def _code_of_s3(text: str) -> int:
    """Return the HTTP status that a message of S3 stands for, or 0."""
    if re.search(r"does not exist(?! in the file system)|NoSuchKey|NoSuchBucket", text):
        return 404
    return 403 if re.search(r"AccessDenied|Access Denied|InvalidAccessKeyId|Forbidden", text) else 0


def without_secrets(address: str) -> str:
    """Return an address without its query, which may hold a signature."""
    return re.sub(r"\?[^}]*", "", address) if is_remote(address) else address


# -- texts --------------------------------------------------------------------------------------


def read_document(address: str, options: Mapping[str, Any]) -> str:
    """Return the text of a JSON document on this machine, on a web server or in S3.

    Raises
    ------
    OSError
        If it cannot be read; the message names it, the reason and the number of tries.
    ValueError
        If it is not UTF-8, or larger than `MAX_TEXT_BYTES`.
    """
    content = read_bytes(address, options)
    place = without_secrets(address)
    if len(content) > MAX_TEXT_BYTES:
        raise ValueError(f"{place} must have at most {MAX_TEXT_BYTES} bytes, got more")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{place} must be JSON in UTF-8, got other bytes") from None


def read_bytes(address: str, options: Mapping[str, Any]) -> bytes:
    """Return the content of a file, or the first bytes of one above `MAX_TEXT_BYTES`.

    Raises
    ------
    OSError
        If it cannot be read; the message names it, the reason and the number of tries.
    """
    if is_web(address):
        return _get(address)
    if is_remote(address):
        with s3_errors(address):
            return filesystem(options).cat_file(address, start=0, end=MAX_TEXT_BYTES + 1)
    try:
        with open(Path(address), "rb") as file:
            return file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise OSError(f"{address} cannot be read: {error.strerror}") from None


def retries() -> Any:
    """Return the retries of urllib3 that this package makes."""
    from urllib3.util import Retry

    return Retry(
        total=TRIES - 1, backoff_factor=RETRY_DELAY, status_forcelist=RETRIED,
        allowed_methods=None, raise_on_status=False, respect_retry_after_header=False,
    )  # fmt: skip


def _get(address: str) -> bytes:
    content = b""
    for chunk in _stream(address):
        content += chunk
        if len(content) > MAX_TEXT_BYTES:
            break
    return content


def is_json(address: str) -> bool:
    """Return whether a web server says that it has JSON at an address."""
    with open_response(address) as response:
        return "json" in response.headers.get("Content-Type", "")


def save_document(address: str, path: str) -> None:
    """Write what a web server has at an address to a file."""
    with open(path, "wb") as file:
        for chunk in _stream(address):
            file.write(chunk)


def _stream(address: str) -> Iterator[bytes]:
    """Yield the content at an address of the web."""
    with open_response(address) as response:
        yield from response.iter_content(1 << 16)


@contextlib.contextmanager
def open_session() -> Iterator[Any]:
    """Yield a session of HTTP that retries."""
    import requests
    from requests.adapters import HTTPAdapter

    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retries()))
        yield session


@contextlib.contextmanager
def open_response(address: str, *, session: Any = None, **headers: str) -> Iterator[Any]:
    """Yield the answer of a web server, after retries."""
    import requests

    with contextlib.nullcontext(session) if session else open_session() as own:
        try:
            with own.get(address, timeout=TIMEOUT, stream=True, headers=headers) as response:
                if response.status_code >= 400:
                    raise unreachable(address, OSError(f"status {response.status_code}"))
                yield response
        except requests.RequestException as error:
            raise unreachable(address, OSError(type(error).__name__)) from None


# -- S3 -------------------------------------------------------------------------------------------


def filesystem(options: Mapping[str, Any]) -> Any:
    """Return the file system of S3."""
    with needs("s3fs"):
        import s3fs

    return s3fs.S3FileSystem(**s3fs_options(options))


@contextlib.contextmanager
def s3_errors(address: str) -> Iterator[None]:
    """Replace an error of s3fs by one sentence."""
    try:
        yield
    except (Unreachable, ValueError):
        raise
    except Exception as error:  # botocore and aiohttp have no common base class
        reason = re.sub(r"\s+", " ", str(error))[:200] or type(error).__name__
        raise Unreachable(f"{address} must be a readable file, got: {reason}") from None
