"""Plans: what requests without anything of their own say, found out once for each URL.

Owns: what is kept for URLs and hosts, and for how long. Most requests are such: their heads are
serialized once.
"""

from __future__ import annotations

from typing import Final

from multidict import CIMultiDict, getversion
from yarl import URL

from angelia.client.automatic_fields import first_headers
from angelia.client.request import RequestPlan
from angelia.core.h1_wire import HeaderBlock

__all__ = ("RequestPlans",)

# What was found out for a URL or a host is kept for so many of each.
MAX_PLANS: Final = 256


class RequestPlans:
    """The plans of one session; `headers` are its fields, `auto_headers` the automatic ones."""

    __slots__ = ("_auto_headers", "_blocks", "_headers", "_plans", "_version")

    def __init__(self, headers: CIMultiDict[str], auto_headers: CIMultiDict[str]) -> None:
        self._headers = headers
        self._auto_headers = auto_headers
        # The session's fields for each host, serialized once, and what URLs mean.
        self._blocks: dict[str, HeaderBlock] = {}
        self._plans: dict[URL, RequestPlan] = {}
        self._version = -1

    def get(self, url: URL) -> RequestPlan:
        """What a plain request for `url` says; the session's fields may have changed."""
        version = getversion(self._headers)  # type: ignore[arg-type]  # it takes values of any type
        if version != self._version:
            self._plans.clear()
            self._blocks.clear()
            self._version = version
        plan = self._plans.get(url)
        if plan is None:
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            plan = self._plans[url] = RequestPlan(url, self._block_for(url))
        return plan

    def _block_for(self, url: URL) -> HeaderBlock:
        """The session's fields for requests to the host of `url`, serialized."""
        host = url.host_port_subcomponent or ""
        block = self._blocks.get(host)
        if block is None:
            if len(self._blocks) >= MAX_PLANS:
                self._blocks.clear()
            headers = first_headers(host, self._headers, self._auto_headers)
            block = self._blocks[host] = HeaderBlock(headers.items())
        return block
