"""JSON and photos over HTTP: under limits of time and size, tried again, with keys kept secret."""

from __future__ import annotations

import ipaddress
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage, IncompleteRead, InvalidURL
from typing import IO
from urllib.parse import urlencode, urlsplit

from pixtag.errors import InputError, ServerError

MAX_JSON_BYTES, MAX_PHOTO_BYTES = 32 * 2**20, 32 * 2**20
TIMEOUT_S = 30.0
TRIES = 5
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_WAIT_S = 900.0  # that a server may ask for
_LEAST_MOMENT = 1e8  # from here on a number is Unix seconds and no length of time
_LOCAL_ENDS = (".local", ".lan", ".internal", ".home.arpa", ".localhost")


class KeyRefusedError(ServerError):
    """The server does not know the key, or the key lacks a permission."""


class NotThereError(ServerError):
    """The server has nothing at this address."""


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows a redirect only to the same host, and never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str,
        headers: HTTPMessage, newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        """Refuse what would carry a key elsewhere."""
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        is_upgrade = (old.scheme, new.scheme) == ("http", "https") and old.hostname == new.hostname
        if (old.scheme, old.netloc) != (new.scheme, new.netloc) and not is_upgrade:
            fp.close()
            what = f"{old.netloc} sends on to {new.scheme}://{new.netloc}, which is not followed"
            raise ServerError(what, hint="give the address that it leads to", status=code)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Client:
    """Talks to one server.

    Args:
        url: Its address; https, but for this machine and the local network.
        headers: Sent with every request, and with none to another host.
        name: What messages call the server.
        timeout_s: How long it may be silent; ten times as long may an answer take in all.
        tries: How often to ask where it is busy or silent.
        pause_s: How long to wait before the second try; twice as long before each further one.
        most_json_bytes: Longest answer in JSON.
        on_wait: Told how many seconds it waits, and why.

    Raises:
        InputError: The address is none, or http to a host on the internet.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        name: str = "the server",
        timeout_s: float = TIMEOUT_S,
        tries: int = TRIES,
        pause_s: float = 0.5,
        most_json_bytes: int = MAX_JSON_BYTES,
        on_wait: Callable[[float, str], None] | None = None,
    ) -> None:
        self.url = checked(url).rstrip("/")
        self._headers, self._name = dict(headers or {}), name
        self._timeout_s, self._tries, self._pause_s = timeout_s, tries, pause_s
        self._most_json_bytes, self._on_wait = most_json_bytes, on_wait
        self._opener = _opener(self.url)
        self._free_at = 0.0  # when requests are left again, Unix seconds UTC

    def json(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str | int] | None = None,
    ) -> object:
        """Ask for JSON, of `path` below the server's address.

        Where the last reply said that no request is left for now (X-RateLimit headers), that time
        is waited for.

        Raises:
            KeyRefusedError, NotThereError: As the server says (401 and 403, 404).
            ServerError: Anything else than an answer in JSON.
        """
        if (wait_s := self._free_at - time.time()) > 0:
            self._wait(wait_s, "its limit of requests is reached")
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        headers = {**self._headers, "Accept": "application/json"}
        headers |= {"Content-Type": "application/json"} if data is not None else {}
        reply, replied = self._tried(method, url, data, headers, self._most_json_bytes)
        if replied.get("X-RateLimit-Remaining", "").strip() == "0":
            self._free_at = time.time() + (wait_of(replied) or 0.0)
        try:
            return json.loads(reply) if reply.strip() else None
        except (ValueError, RecursionError) as error:
            what = f"{self._name} at {self.url}{path} does not answer in JSON"
            raise ServerError(what, hint="check the address: it may be that of a page") from error

    def photo(self, path: str) -> bytes:
        """Fetch a photo of this server. Raises as `json`."""
        headers = {**self._headers, "Accept": "image/*"}
        return self._tried("GET", self.url + path, None, headers, MAX_PHOTO_BYTES)[0]

    def photo_at(self, url: str) -> bytes:
        """Fetch a photo from wherever the server says that it lies, without the key.

        Elsewhere than on the server itself only from public hosts over https.
        """
        try:
            there, here = urlsplit(url), urlsplit(self.url)
        except ValueError:
            raise self._odd(url) from None
        is_here = (there.scheme, there.netloc) == (here.scheme, here.netloc)
        if not is_here and (there.scheme != "https" or is_local(there.hostname or "")):
            what = f"{self._name} says that a photo lies at {there.scheme}://{there.netloc}"
            raise ServerError(what, hint="it is not fetched: only public hosts, over https")
        try:
            return self._tried("GET", url, None, {"Accept": "image/*"}, MAX_PHOTO_BYTES)[0]
        except KeyRefusedError as error:  # there was none
            raise NotThereError(error.message, status=error.status) from None

    def _tried(
        self, method: str, url: str, data: bytes | None, headers: Mapping[str, str], limit: int
    ) -> tuple[bytes, Message]:
        for n_before in range(self._tries):
            is_last, pause_s = n_before == self._tries - 1, self._pause_s * 2**n_before
            try:
                return self._once(method, url, data, headers, limit)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code not in _AGAIN or is_last:
                        raise self._refused(error, url) from None  # its text may hold the key
                    asked = wait_of(error.headers)
                self._wait(pause_s if asked is None else asked, "busy")
            except (ValueError, InvalidURL):  # it cannot be written into a request
                raise self._odd(url) from None
            except (OSError, HTTPException) as error:
                reason = getattr(error, "reason", None) or error
                if is_last or isinstance(reason, ConnectionRefusedError) or _is_final(reason):
                    what = f"{self._name} at {self.url} does not answer: {_words(reason)}"
                    hint = "check the address, and that it runs; what is done is kept"
                    if "certificate" in what:
                        hint = "if it is your own, name its certificate in SSL_CERT_FILE"
                    raise ServerError(what, hint=hint) from None
                self._wait(pause_s, "silent")
        raise AssertionError

    def _odd(self, url: str) -> ServerError:
        what = f"{self._name} names an address that there cannot be: {url[:100]!r}"
        return NotThereError(what, hint="what is done is kept", status=404)

    def _once(
        self, method: str, url: str, data: bytes | None, headers: Mapping[str, str], limit: int
    ) -> tuple[bytes, Message]:
        every = {"User-Agent": "pixtag", **headers}
        request = urllib.request.Request(url, data, every, method=method)  # noqa: S310 - `checked`
        until_s = time.monotonic() + 10 * self._timeout_s  # for one that sends a byte now and then
        parts: list[bytes] = []
        n_bytes = 0
        with self._opener.open(request, timeout=self._timeout_s) as response:
            while part := response.read1(2**18):
                parts.append(part)
                n_bytes += len(part)
                if n_bytes > limit:
                    what = f"{self._name} sends more than {limit // 2**20} MiB at once"
                    raise ServerError(what, hint="what is done is kept")
                if time.monotonic() > until_s:
                    raise TimeoutError
            if response.length:  # bytes that were announced and did not come
                raise IncompleteRead(b"", response.length)
            return b"".join(parts), response.headers

    def _wait(self, seconds: float, why: str) -> None:
        if seconds > _LONGEST_WAIT_S:
            what = f"{self._name} asks to wait for {seconds / 60:,.0f} minutes"
            raise ServerError(what, hint="run it again then: what is done is kept")
        if self._on_wait is not None and round(seconds) >= 1:
            self._on_wait(seconds, why)
        time.sleep(seconds)

    def _refused(self, error: urllib.error.HTTPError, url: str) -> ServerError:
        place = urlsplit(url).path
        said = f"{self._name} at {self.url} answers {error.code} to {place}"
        if error.code in {401, 403}:
            hint = "check the key, whether it has expired, and what it may do"
            return KeyRefusedError(said, hint=hint, status=error.code)
        if error.code == 404:
            return NotThereError(said, hint="check the address and the version", status=404)
        return ServerError(said, hint="try again later: what is done is kept", status=error.code)


def wait_of(headers: Message) -> float | None:
    """Seconds that a server asks to wait: Retry-After, or until X-RateLimit-Reset."""
    for name in ("Retry-After", "X-RateLimit-Reset"):
        text = (headers.get(name) or "").strip()
        for read in (float, datetime.fromisoformat, parsedate_to_datetime):
            try:
                found = read(text)
            except ValueError:
                continue
            if isinstance(found, datetime):
                at = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
                return max(0.0, (at - datetime.now(UTC)).total_seconds())
            return max(0.0, found - time.time() if found > _LEAST_MOMENT else found)
    return None


def checked(url: str) -> str:
    """Give an address, with https where it names no scheme. InputError: it cannot be used."""
    url = url.strip()
    full = url if "://" in url else f"https://{url}"
    parts = urlsplit(full)
    try:
        is_odd = parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0
    except ValueError:
        is_odd = True
    hint = "write https://photos.example"
    if parts.username is not None:
        raise InputError("an address with a name or password in it", hint=hint)
    is_odd = is_odd or not full.isprintable() or " " in full
    if is_odd or parts.query or parts.fragment:
        raise InputError(f"{url!r} is no address of a server", hint=hint)
    if parts.scheme == "http" and not is_local(parts.hostname or ""):
        what = f"{url} would send your key, or what you look at, in the open"
        raise InputError(what, hint="use https://; http is for this machine and local networks")
    return full


def is_local(host: str) -> bool:
    """Whether a host is this machine, or by its name or number on a local network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.lower().endswith(_LOCAL_ENDS)
    return address.is_private or address.is_loopback or address.is_link_local


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Make an opener that follows nothing elsewhere; local hosts are not asked by a proxy."""
    handlers: list[urllib.request.BaseHandler] = [_SameHost()]
    if is_local(urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def _is_final(reason: object) -> bool:
    """Whether trying again cannot help: no such host, or a certificate that is not trusted."""
    return type(reason).__name__ in {"gaierror", "SSLCertVerificationError"}


def _words(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return "it takes too long"
    return getattr(reason, "strerror", None) or type(reason).__name__
