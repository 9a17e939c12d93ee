"""A `-s` script: mitmweb keeps less to show, so that a test fills it sooner."""

from addon import webview

webview.KEEP_BYTES = 32 << 20
