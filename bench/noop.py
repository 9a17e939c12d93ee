"""mitmproxy addon: streams event streams through a callback that does nothing. What sse_logger is measured against."""

from mitmproxy import http


class Noop:
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if flow.response and flow.response.headers.get("content-type", "").startswith("text/event-stream"):
            flow.response.stream = lambda data: data


addons = [Noop()]
