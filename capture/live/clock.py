"""The log's own clock: seconds that never go back, whatever its times do."""

from datetime import datetime

BACK = 60.0  # seconds: lines of several writers stand a little out of order; what lies further back is another clock


class Clock:
    """Follows the times of a log. One that is set back (the end of summer time, a corrected clock) goes on from where it was."""

    def __init__(self) -> None:
        self.now = 0.0
        self._t = ""
        self._offset = 0.0  # what all times are moved by

    def reach(self, t: str) -> float:
        """The time now, after something was told at a time of the log."""
        if t != self._t:
            self._t = t
            at = seconds(t) + self._offset
            if at < self.now - BACK:
                self._offset += self.now - at
            self.now = max(self.now, at)
        return self.now

    def wait(self, seconds: float) -> float:
        """The time now, after so long in which nothing was told."""
        self.now += seconds
        return self.now


def seconds(t: str) -> float:
    """A time of the log in seconds; 0 for what is no time."""
    try:
        return datetime.fromisoformat(t).timestamp()
    except ValueError:
        return 0.0
