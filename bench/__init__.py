"""Measurements of what recording costs and how fast the log answers; logs whose truth is known."""
