"""Measurements of what recording costs."""
