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
        self._sizes: dict[str, int] = {}

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
        """Forgets the oldest messages of a socket that has talked for long; the newest is still being forwarded."""
        messages = flow.websocket.messages if flow.websocket else []
        if self.view is None:
            del messages[:-1]
            return
        size = self._sizes[flow.id] = self._sizes.get(flow.id, 0) + len(messages[-1].content)
        while size > KEEP_BODY and len(messages) > 1:
            size -= len(messages.pop(0).content)
        self._sizes[flow.id] = size

    def ended(self, flow: http.HTTPFlow) -> None:
        """Shows the body of a flow that was streamed, also when it was cut (mitmproxy shows none), and makes room."""
        body = self._bodies.pop(flow.id, None)
        self._sizes.pop(flow.id, None)
        if body and flow.response and flow.response.raw_content is None:
            flow.response.raw_content = b"".join(body)
        if self.view is not None:
            self._evict()

    def comment(self, flow_id: str, text: str) -> None:
        if self.view is not None and (flow := self.view.get_by_id(flow_id)):
            flow.comment = text
            self.view.update([flow])

    def _evict(self) -> None:
        """Takes the oldest flows away that are over, and that nobody marked."""
        flows = self.view.resolve("@all")
        total = sum(_size(flow) for flow in flows)
        for excess, flow in enumerate(flows):
            if total <= KEEP_BYTES and len(flows) - excess <= KEEP_FLOWS:
                return
            if not flow.live and not flow.marked:
                total -= _size(flow)
                self.view.remove([flow])


def _size(flow: Any) -> int:
    if not isinstance(flow, http.HTTPFlow):
        return 0
    messages = sum(len(message.content) for message in flow.websocket.messages) if flow.websocket else 0
    return len(flow.request.raw_content or b"") + len((flow.response and flow.response.raw_content) or b"") + messages
