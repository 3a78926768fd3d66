"""Mastodon and Pixelfed: an account's own posts as history, over the API that both publish."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr

from pixtag.errors import InputError, ServerError
from pixtag.ingest.files import as_dict, as_list, dig
from pixtag.ingest.services import reach_of, read_note
from pixtag.integrations.history import Keeper, OnProgress, Picture
from pixtag.integrations.http import Client, KeyRefusedError, NotThereError
from pixtag.types import Post

PAGE = 40  # the most that Mastodon gives at once
_HANDLE = re.compile(r"@?([^@/\s]+)@([^@/\s]+)")
_PATH = re.compile(r"/(?:@|users/|profile/|i/)?([^@/\s]+)/?")


class MastodonConfig(BaseModel):
    """How an account of Mastodon or Pixelfed is read.

    Attributes:
        token: An access token with read:accounts and read:statuses; Mastodon needs none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    token: SecretStr | None = None


class Handle(NamedTuple):
    """An account: its server's address and its name there."""

    server: str
    name: str

    @classmethod
    def of(cls, text: str) -> Handle:
        """Read `@ana@pixelfed.social` or `https://mastodon.example/@ana`. InputError: neither."""
        text = text.strip()
        if found := _HANDLE.fullmatch(text):
            return cls(f"https://{found[2]}", found[1])
        parts = urlsplit(text)
        if parts.scheme and parts.netloc and (found := _PATH.fullmatch(parts.path)):
            return cls(f"{parts.scheme}://{parts.netloc}", found[1])
        hint = "write @ana@mastodon.example or https://mastodon.example/@ana"
        raise InputError(f"{text!r} is no account", hint=hint)


class Account:
    """One account, on its own server.

    Raises:
        InputError: The handle is none.
        ServerError: The server does not know the account, or shows it only with a token.
    """

    def __init__(
        self, handle: str, config: MastodonConfig,
        *, on_wait: Callable[[float, str], None] | None = None,
    ) -> None:  # fmt: skip
        server, name = Handle.of(handle)
        token = config.token.get_secret_value().strip() if config.token else ""
        if not (token.isascii() and token.isprintable()):
            raise InputError("the token holds odd characters", hint="copy it again")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        name_of = urlsplit(server).netloc
        self._client = Client(server, headers=headers, name=name_of, on_wait=on_wait)
        said = self._looked_up(name, has_token=bool(token))
        self._id, self.name = str(dig(said, "id") or ""), str(dig(said, "username") or name)
        count = dig(said, "statuses_count")
        self.n_posts = count if isinstance(count, int) else None
        if not self._id.isalnum():
            raise ServerError(f"{server} gives no account for {name!r}", hint="check the spelling")

    def _looked_up(self, name: str, *, has_token: bool) -> object:
        try:
            return self._client.json("GET", "/api/v1/accounts/lookup", query={"acct": name})
        except KeyRefusedError as error:
            raise self._locked(error) from error
        except NotThereError as error:
            if has_token:  # a server without the lookup tells whose the token is
                with suppress(ServerError):
                    found = self._client.json("GET", "/api/v1/accounts/verify_credentials")
                    if str(dig(found, "username")).casefold() == name.casefold():
                        return found
            url = self._client.url
            what = f"{url} knows no account {name!r}, or is neither Mastodon nor Pixelfed"
            raise ServerError(what, hint="check the spelling") from error

    def _locked(self, error: KeyRefusedError) -> ServerError:
        hint = "make a token there (Settings, Development or Applications; read:accounts and "
        hint += "read:statuses) and give it in PIXTAG_MASTODON_TOKEN; Pixelfed always wants one"
        return KeyRefusedError(error.message, hint=hint, status=error.status)

    def pages(self) -> Iterator[list[dict[str, object]]]:
        """Read the account's statuses, latest first, without what it shared of others."""
        query: dict[str, str | int] = {"limit": PAGE, "exclude_reblogs": "true"}
        path = f"/api/v1/accounts/{self._id}/statuses"
        ends = set[str]()
        while True:
            try:
                said = self._client.json("GET", path, query=query)
            except KeyRefusedError as error:
                raise self._locked(error) from error
            page = [row for row in map(as_dict, as_list(said)) if row.get("id")]
            last = str(page[-1]["id"]) if page else ""
            if not page or last in ends:  # a list that goes round in circles has ended, too
                return
            ends.add(last)
            yield [row for row in page if not row.get("reblog")]
            query["max_id"] = last

    def read(self, keeper: Keeper, *, on_progress: OnProgress | None = None) -> None:
        """Put the posts into a store, page by page, named as those of the account's archive are."""
        n_done = 0
        for page in self.pages():
            found = (self._post(row, keeper) for row in page)
            keeper.keep([one for one in found if one is not None])
            n_done += len(page)
            if on_progress is not None:
                on_progress(n_done, max(self.n_posts or 0, n_done) or None)

    def _post(self, status: dict[str, object], keeper: Keeper) -> tuple[Post, list[Picture]] | None:
        context = keeper.context
        uri = status.get("uri") or status.get("url")
        note: dict[str, object] = {
            "id": uri,
            "published": re.sub(r"\.\d+", "", str(status.get("created_at") or "")),
            "summary": status.get("spoiler_text"),
            "content": status.get("content"),
            "tag": [
                {"type": "Hashtag", "name": str(dig(tag, "name") or "")}
                for tag in as_list(status.get("tags"))
            ],
        }
        reach = reach_of({"visibility": status.get("visibility")}, {})
        if reach and not context.private:
            context.report.add(f"{reach} post, left out (--private reads it)", str(uri))
            return None
        post = read_note(note, context.user_id or self.name, context)
        media = [as_dict(one) for one in as_list(status.get("media_attachments"))]
        is_video = [str(one.get("type")) in {"video", "gifv", "audio"} for one in media]
        context.report.n_videos += bool(media) and all(is_video)
        addresses = (one.get("preview_url") or one.get("url") for one in media)
        urls = [url for url in addresses if isinstance(url, str) and "://" in url]
        return post, [Picture(url, partial(self._client.photo_at, url)) for url in urls]
