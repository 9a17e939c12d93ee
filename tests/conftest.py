"""Settings of the property tests: no deadline for one example (machines differ), the same examples on every run in CI."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "house", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("house")
