"""mitmweb as a place to look: streamed bodies to be seen there, flows named by session, memory flat."""

from typing import Any

from mitmproxy import ctx, http

KEEP_BODY = 4 << 20  # bytes of one streamed body kept for the eye; the log has it whole
KEEP_FLOWS = 500  # flows
KEEP_BYTES = 256 << 20  # of all bodies together


class WebView:
    """Does nothing where no user interface keeps flows (mitmdump)."""

    def __init__(self) -> None:
        self._bodies: dict[str, list[bytes]] = {}
        self._sizes: dict[str, int] = {}  # of the bodies, and of the messages that are kept
        self._kept: dict[str, int] = {}  # the sizes of the flows in view that were over once, the oldest first
        self._total = 0  # of these together

    @property
    def view(self) -> Any:
        """mitmproxy's list of flows; None in mitmdump, which keeps none."""
        return getattr(ctx.master, "view", None)

    def chunk(self, flow_id: str, data: bytes) -> None:
        """Keeps a chunk for `ended`."""
        if self.view is None:
            return
        size = self._sizes.get(flow_id, 0)
        if size < KEEP_BODY:
            self._bodies.setdefault(flow_id, []).append(data)
            self._sizes[flow_id] = size + len(data)

    def message(self, flow: http.HTTPFlow) -> None:
        """Forgets the oldest messages of a socket that has talked for long; the newest is still being forwarded.

        Not when mitmproxy saves flows to a file (`-w`): it writes a socket when it is over, and is to write it whole.
        """
        messages = flow.websocket.messages if flow.websocket else []
        saved = bool(getattr(ctx.options, "save_stream_file", None))
        if self.view is None:
            if not saved:
                del messages[:-1]
            return
        size = self._sizes.get(flow.id, 0) + len(messages[-1].content)
        while not saved and size > KEEP_BODY and len(messages) > 1:
            size -= len(messages.pop(0).content)
        self._sizes[flow.id] = size

    def ended(self, flow: http.HTTPFlow) -> None:
        """Shows the body of a flow that was streamed, also when it was cut (mitmproxy shows none), and makes room."""
        body = self._bodies.pop(flow.id, None)
        size = self._sizes.pop(flow.id, 0)
        if body and flow.response and flow.response.raw_content is None:
            flow.response.raw_content = b"".join(body)
        if self.view is not None:
            self._keep(flow.id, _bodies_of(flow) + (size if flow.websocket else 0))
            self._evict()

    def comment(self, flow_id: str, text: str) -> None:
        if self.view is not None and (flow := self.view.get_by_id(flow_id)):
            flow.comment = text
            self.view.update([flow])

    def _keep(self, flow_id: str, size: int) -> None:
        """The newest flow; a socket is over twice, its upgrade and itself."""
        self._total += size - self._kept.pop(flow_id, 0)
        self._kept[flow_id] = size

    def _evict(self) -> None:
        """Takes the oldest flows away that are over, and that nobody marked; those wait for their next turn."""
        for _ in range(len(self._kept)):
            if self._total <= KEEP_BYTES and len(self._kept) <= KEEP_FLOWS:
                return
            oldest = next(iter(self._kept))
            flow = self.view.get_by_id(oldest)
            size = self._kept.pop(oldest)
            self._total -= size
            if flow and (flow.live or flow.marked):
                self._keep(oldest, size)
            elif flow:
                self.view.remove([flow])


def _bodies_of(flow: http.HTTPFlow) -> int:
    return len(flow.request.raw_content or b"") + len((flow.response and flow.response.raw_content) or b"")
