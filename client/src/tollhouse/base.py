"""What the two clients have in common."""

import os
import weakref
from pathlib import Path
from typing import Any

import httpx

from .answers import Customer, Synced
from .configuration import Limits, project_key, service_url
from .local_copy import LocalCopy
from .outage import Policies, by_feature
from .sending import headers_of
from .snapshot_file import SnapshotFile


class Client:
    """What the two have in common."""

    def __init__(
        self,
        url: str | None,
        api_key: str | None,
        limits: Limits,
        stream: bool,
        snapshot_file: str | os.PathLike[str] | None,
        outage: Policies,
    ) -> None:
        self._limits = limits
        self._url = service_url(url)
        key = project_key(api_key)
        self._headers = httpx.Headers(headers_of(key))  # whose repr masks the key
        self._tls = httpx.create_ssl_context()  # once, for it takes longer than all the rest
        self._stream = stream
        self._closed = False
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self._copy = LocalCopy(by_feature(outage), poll=limits.poll)
        path = os.environ.get("TOLLHOUSE_SNAPSHOT_FILE", "") if snapshot_file is None else os.fspath(snapshot_file)
        self._file = SnapshotFile(Path(path), key) if path else None
        if self._file:
            self._file.load(self._copy)

    def _patience(self, user_id: str) -> float:
        """How long a check may wait: the very first of a process longer, if nothing is known of its user."""
        begun = self._copy.health.contacted or user_id in self._copy.held
        return self._limits.wait if begun else self._limits.check

    def _heard(self, answer: object) -> None:
        """What other calls tell of a user is known to the next check."""
        if isinstance(answer, Synced):
            answer = answer.customer
        if isinstance(answer, Customer):
            self._copy.told_customer(answer)

    def before_fork(self) -> None:
        self._copy.lock.acquire()

    def after_fork(self, *, in_child: bool) -> None:
        self._copy.lock.release()
        if in_child:
            self._copy.disconnected()
            if self._finalizer:
                self._finalizer.detach()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._url)!r})"
