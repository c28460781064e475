"""HTTP for look-ups on the control side: time-outs, a few retries, a CA of one's own, and errors in words."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from fleet.errors import LookupFailed

#: Seconds to connect, and between two bytes of an answer.
TIMEOUT: Final = (10.0, 30.0)
RETRIES: Final = 2


def session(*, ca: str = "", proxies: Mapping[str, str] | None = None, backoff: float = 0.5) -> requests.Session:
    """A session that trusts the system's CAs and those of the PEM text ``ca``.

    ``proxies`` is scheme → address; without it, the environment's count.
    """
    made = requests.Session()
    made.headers["User-Agent"] = "vllm-fleet"
    retry = Retry(
        total=RETRIES,
        backoff_factor=backoff,
        status_forcelist=(429, 500, 502, 503, 504),
        allowed_methods=("GET", "HEAD"),
        raise_on_status=False,
    )
    adapter = _Trusting(ca, max_retries=retry)
    made.mount("https://", adapter)
    made.mount("http://", adapter)
    if proxies:
        made.proxies.update(proxies)
    return made


def ask(
    web: requests.Session,
    url: str,
    *,
    what: str,
    method: str = "GET",
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    auth: tuple[str, str] | None = None,
) -> requests.Response:
    """The answer, whatever its status; ``what`` names the server's part in errors (``the registry ghcr.io``).

    Raises:
        LookupFailed: no answer: name unknown, refused, timed out, a certificate that nobody vouches for.
    """
    try:
        return web.request(
            method, url, params=params, headers=headers, auth=auth, timeout=TIMEOUT, allow_redirects=True
        )
    except requests.exceptions.SSLError as error:
        raise LookupFailed(
            f"{what}: its certificate is not trusted", where=url,
            hint=f"give its CA by mirrors.ca, or look at the clock: {_innermost(error)}",
        ) from error  # fmt: skip
    except requests.exceptions.ProxyError as error:
        raise LookupFailed(
            f"{what}: the proxy doesn't let us through", where=url, hint=f"see `proxy`: {_innermost(error)}"
        ) from error
    except requests.exceptions.RequestException as error:
        raise LookupFailed(
            f"{what} doesn't answer", where=url,
            hint=f"is it up, and can this machine reach it? {_innermost(error)}",
        ) from error  # fmt: skip


def post(web: requests.Session, url: str, body: bytes, *, what: str, timeout: float) -> requests.Response:
    """The answer to a JSON text, whatever its status; not followed elsewhere.

    The address holds a token: no error names it.

    Raises:
        LookupFailed: no answer; ``what`` stands for the address.
    """
    headers = {"Content-Type": "application/json; charset=utf-8"}
    try:
        return web.post(url, data=body, headers=headers, timeout=timeout, allow_redirects=False)
    except requests.exceptions.SSLError as error:
        raise LookupFailed(f"{what}: its certificate is not trusted: {_innermost(error)}") from None
    except requests.exceptions.RequestException as error:
        raise LookupFailed(f"{what} doesn't answer: {_innermost(error)}") from None


def json_of(answer: requests.Response, *, what: str) -> Any:
    """The answer's JSON.

    Raises:
        LookupFailed: it is something else (a login page, garbage).
    """
    try:
        return answer.json()
    except ValueError as error:
        raise LookupFailed(
            f"{what} sent something that isn't JSON", where=answer.url,
            hint="is this address really one, or a proxy's page? " + repr(answer.text[:80]),
        ) from error  # fmt: skip


def _innermost(error: BaseException) -> str:
    """The last cause's own words; requests and urllib3 wrap them three deep, each in a way of its own."""
    seen, inner = error, error
    for _ in range(8):
        wrapped = (getattr(inner, "reason", None), inner.__cause__, *inner.args[:1])
        found = next((one for one in wrapped if isinstance(one, BaseException)), None)
        if found is None:
            break
        seen = inner = found
    words = (seen.strerror if isinstance(seen, OSError) else "") or str(seen) or type(seen).__name__
    return words.rpartition(">: ")[2].rpartition("): ")[2][:200]


class _Trusting(HTTPAdapter):
    """An adapter whose TLS context holds one more CA; requests' own ``verify=FILE`` would replace all the others."""

    def __init__(self, ca: str, **kwargs: Any) -> None:
        self._context = ssl.create_default_context()
        if ca:
            self._context.load_verify_locations(cadata=ca)
        super().__init__(**kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, ssl_context=self._context, **kwargs)
