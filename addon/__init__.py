"""The edge to mitmproxy."""
