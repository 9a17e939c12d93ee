"""The fault table as data: 55 faults, what must hold, and why a row cannot be shown on one machine where that is so.

Holds for every row unless it says otherwise: the client's bytes are identical and not delayed; what was captured is complete up
to the fault, in order; one clear line in `sse_logger.error`; the proxy is alive and captures a fresh flow; memory is bounded.
A test shows a row by carrying `@pytest.mark.row(NUMBER)`.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    number: int
    fault: str
    holds: str
    limits: str = ""  # what of it one machine, or a run of minutes, cannot show


ROWS = (
    Row(1, "the tap raises at any point", "the client does not notice; the log says so"),
    Row(2, "the tap raises in the call that ends a stream", "the client finishes; the end record says what failed"),
    Row(3, "a fault in one of 50 HTTP/2 streams", "the 49 others are exact"),
    Row(4, "the writer's thread dies", "begun again; what was lost is counted"),
    Row(5, "the queue is full", "nobody is blocked; starts and ends are kept, dropped lines counted in a `gap` record"),
    Row(6, "the disk is full", "no glued lines; waits in bounded memory, then counted; goes on when there is room"),
    Row(7, "the disk is full for a flow's own file only", "the central files go on"),
    Row(8, "an I/O error at the n-th write, open or sync", "no silent loss, whichever call it is"),
    Row(9, "the log directory is read-only, deleted, replaced", "made again, or one clear error, within 60 s"),
    Row(10, "a slow disk", "the client is not delayed"),
    Row(
        11,
        "SIGKILL of the proxy at random moments",
        "at most a torn tail for each file, repaired; each flow has an end; loss <= 100 ms",
    ),
    Row(12, "SIGTERM, SIGINT with 20 open streams", "nothing lost; each flow has an end; exit within 5 s"),
    Row(13, "power loss (simulated)", "what was synced is a whole, readable prefix"),
    Row(
        14,
        "torn, corrupt, NUL-filled, binary, 300 MB lines in the log",
        "readers skip them, say so and go on; torn tails go to `*.bad`",
    ),
    Row(15, "a reader while 20 MB lines are written", "no half line is ever parsed"),
    Row(16, "4 proxies, one directory, 16 MB lines", "no line is interleaved with another"),
    Row(17, "rotation by us, by rename, by copytruncate, by deletion", "the first two lose nothing; copytruncate is noticed"),
    Row(18, "the client aborts mid stream", "the end says so; upstream is closed"),
    Row(19, "upstream resets, truncates, lies about its length", "the client sees the same failure; the end says what"),
    Row(20, "upstream is silent for 15 minutes", "not cut by us"),
    Row(21, "upstream is down, unknown, has a bad certificate", "502 as without us; the record names the host"),
    Row(22, "no body, HEAD, 204, 304, 1xx, 429, 529", "the records are exact"),
    Row(23, "no newline for 100 MB", "recorded in parts, all bytes there; memory bounded"),
    Row(24, "invalid UTF-8, NUL, lone surrogates, overlong forms", "the log is JSON; the bytes can be had back"),
    Row(25, "CR, CRLF, BOM, comments, odd fields, a 2 MB id", "parsed as the standard says"),
    Row(26, "any chunking", "the same records"),
    Row(27, "content types of any kind", "captured, or said not to be"),
    Row(
        28, "gzip, br, zstd, deflate, stacked, mislabelled, cut", "the client gets the original; the log the decoded, or the reason"
    ),
    Row(29, "compression bombs", "inflated up to a cap; the loop is not held"),
    Row(30, "a request of 100 MB", "sent at line speed"),
    Row(31, "1,000 requests of 5 MB in web mode", "memory is flat"),
    Row(32, "a client that reads 5 kB/s of 200 MB", "memory is bounded"),
    Row(33, "500 streams; 100 HTTP/2 streams on one connection; 10,000 events/s", "all complete; clients not delayed"),
    Row(34, "WebSocket: 16 MB, 10,000 small, fragments, pings, no close, deflate", "messages are exact"),
    Row(35, "Redis down, hanging, out of memory, wrong password, restarting", "the log is untouched; bounded; catches up"),
    Row(36, "a secret of each kind in each place", "in no byte of the log, Redis, the console"),
    Row(37, "a secret split over deltas, chunks, frames, escapes", "no leak at any split point; lines wait <= 2 s"),
    Row(38, "a secret encoded", "no leak for the encodings that are listed"),
    Row(39, "OAuth login and refresh", "the tokens are absent; the client still logs in"),
    Row(40, "texts without secrets", "JSON stays valid; the rate of false hits"),
    Row(41, "the redactor is slow, fails, is attacked", "nothing is ever written unredacted"),
    Row(42, "hashes are guessed", "no match without the salt; the salt is 0600 and not in the log"),
    Row(43, "odd headers: many, 1 MB, odd case, no Latin", "all secret values are hashes"),
    Row(44, "names that are paths", "inside the log directory; unique; at most 100 bytes"),
    Row(45, "symlink, FIFO, hard link, foreign owner at the log's path", "refused, in one line"),
    Row(46, "umask 000, a log directory of 0777", "files 0600, directories 0700"),
    Row(47, "access from outside", "loopback only; 403; no token in the log"),
    Row(48, "other hosts, pinned clients", "not decrypted, not captured; a pinned client is told of"),
    Row(49, "an agent that reads its own log", "grows by what is read once"),
    Row(50, "the clock jumps, the time zone changes, DST", "order is by sequence number"),
    Row(51, "purge and retention", "gone from all files, all else exact"),
    Row(52, "no proxy, port taken, CA missing", "the agent starts, or a clear message within 2 s"),
    Row(53, "logs of older and newer formats", "accepted; unknown fields kept"),
    Row(
        54,
        "soak: mixed load, a random fault each 20 s",
        "all of the above at once; memory is flat",
        "the table asks for 8 hours: `scripts/faults.sh --rows 54 --minutes 480`; the suite and this table run minutes",
    ),
    Row(
        55,
        "fuzzing of decoders, redactor, readers",
        "nothing raises; properties hold",
        "the table asks for CPU-hours: `scripts/fuzz.sh MINUTES`; the suite and this table run minutes",
    ),
)

NUMBERS = frozenset(row.number for row in ROWS)


def chosen(text: str) -> frozenset[int]:
    """The rows of `1,5-9`. Raises ValueError, whose message says what is wrong."""
    found: set[int] = set()
    for piece in text.split(","):
        range_ = re.fullmatch(r"\s*([0-9]+)(?:-([0-9]+))?\s*", piece)
        if not range_:
            raise ValueError(f"--rows {text}: write numbers and ranges, as in 1,5-9")
        found |= set(range(int(range_[1]), int(range_[2] or range_[1]) + 1))
    if not found or found - NUMBERS:
        raise ValueError(f"--rows {text}: there are rows 1 to {max(NUMBERS)}")
    return frozenset(found)
