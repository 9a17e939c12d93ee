"""Rows 17 and 51: the log is taken away, cut or purged while proxies write to it and readers follow."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import orjson
import pytest

from capture import purging
from capture.channels.directory import LogSource
from capture.files import ENDS, FLOWS, LINES
from tests.faults.harness import CHUNKED, END_OF_CHUNKS, STOP, Client, Origin, Proxy, Step, chunk, event, head, until

NAMES = (FLOWS, LINES, ENDS)


class Talk:
    """An agent's stream that goes on until it is told to end, in a session of its own; a client in a thread hears it."""

    def __init__(self, proxy: Proxy, origin: Origin, session: str, word: str) -> None:
        self.session, self.word = session, word
        self._ending = threading.Event()
        self.url = origin.serve(self._steps)
        self._proxy = proxy
        self.heard = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        until(lambda: self.heard > 1000, f"{session} to begin")

    def _steps(self) -> Iterator[Step]:
        yield head(CHUNKED)
        number = 0
        while not self._ending.is_set():
            yield chunk(event(number).replace(b'"text":"', b'"text":"' + self.word.encode()))
            yield 0.005
            number += 1
        yield chunk(STOP)
        yield END_OF_CHUNKS

    def _listen(self) -> None:
        body = orjson.dumps({"session_id": self.session, "messages": [{"role": "user", "content": self.word}]})
        with Client(self._proxy.port) as client:
            for data in client.open(self.url, body, headers=(("session-id", self.session),)):
                self.heard += len(data)

    def end(self) -> None:
        self._ending.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


class Reader:
    """Follows the log from its beginning, in a thread."""

    def __init__(self, directory: Path) -> None:
        self.lines: list[bytes] = []
        self._source = LogSource(directory, "start")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._ending.is_set():
            if batch := self._source.poll(0.02):
                self.lines += [raw for _, raw in batch.lines]

    def end(self) -> None:
        self._ending.set()
        self._thread.join(20)
        self._source.close()

    def counts(self, flow_id: str) -> list[int]:
        return [line["data_count"] for raw in self.lines if (line := orjson.loads(raw))["flow_id"] == flow_id]


def recorded(directory: Path, word: str) -> bool:
    return (directory / LINES).read_bytes().count(word.encode()) > 5


def went_on(talks: list[Talk], marks: list[int]) -> bool:
    """Whether each client has heard more than so many bytes."""
    return all(talk.heard > mark for talk, mark in zip(talks, marks, strict=True))


@pytest.mark.row(51)
def test_a_session_purged_while_it_streams_is_nowhere_and_the_others_are_whole(
    tmp_path: Path, confdir: Path, origin: Origin, times: Callable[[int, int], int], record_property: Callable[[str, object], None]
) -> None:
    proxy = Proxy(tmp_path, confdir)
    reader = Reader(proxy.directory)
    runs, found = times(2, 20), 0
    kept = [Talk(proxy, origin, f"kept-session-{index}", f"pear{index}x") for index in range(3)]
    for run in range(runs):
        word, session = f"apple{run}x", f"doomed-session-{run}"
        doomed = Talk(proxy, origin, session, word)
        until(partial(recorded, proxy.directory, word), "the doomed session to be on record")
        words = [sys.executable, "-m", "capture", "purge", "--dir", str(proxy.directory), "--session", session, "--yes"]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        until(partial(went_on, [doomed], [doomed.heard + 5000]), "the purged stream to go on for its client")
        everything = proxy.log.everything()
        found += everything.count(word.encode()) + everything.count(session.encode())
        doomed.end()
        found += proxy.log.everything().count(word.encode())
    for talk in kept:
        talk.end()
    ends = {}
    for talk in kept:
        flow = proxy.log.ended(talk.url)
        ends[flow.record["flow_id"]] = flow.end["lines"]
    until(lambda: all(len(reader.counts(each)) >= count for each, count in ends.items()), "the reader to have read all")
    reader.end()
    doubled = sum(len(reader.counts(each)) - len(set(reader.counts(each))) for each in ends)
    assert all(reader.counts(each) == list(range(count)) for each, count in ends.items())
    again = Talk(proxy, origin, "doomed-session-0", "fresh")
    again.end()
    assert proxy.log.ended(again.url).end["outcome"] == "complete"
    proxy.end()
    assert [error["where"] for error in proxy.log.errors()] == ["purge"] * runs
    record_property("runs", runs)
    record_property("bytes found of purged sessions", found)
    record_property("lines of other sessions lost", 0)
    record_property("lines doubled for a reader", doubled)
    assert found == 0


@pytest.mark.row(17)
@pytest.mark.parametrize("how", ["renamed", "purged"])
def test_a_log_renamed_or_rewritten_under_load_loses_and_doubles_nothing(
    tmp_path: Path,
    confdir: Path,
    origin: Origin,
    how: str,
    times: Callable[[int, int], int],
    record_property: Callable[[str, object], None],
) -> None:
    proxy = Proxy(tmp_path, confdir)
    reader = Reader(proxy.directory)
    talks = [Talk(proxy, origin, f"session-{index}", f"pear{index}x") for index in range(5)]
    rounds = times(2, 15)
    for turn in range(rounds):
        if how == "renamed":
            for name in NAMES if turn == 0 else (LINES,):  # nothing new is said in the others
                (proxy.directory / name).rename(proxy.directory / f"{name}.{turn + 1}")
            until((proxy.directory / LINES).exists, "the log to be begun anew")
        else:
            purging.purge(proxy.directory, frozenset({"nobody"}), frozenset())
        heard = [talk.heard + 500 for talk in talks]
        until(partial(went_on, talks, heard), "it to go on")
    for talk in talks:
        talk.end()
    proxy.end()
    records = [
        orjson.loads(line)
        for name in NAMES
        for path in [*proxy.directory.glob(f"{name}.[0-9]*"), *proxy.directory.glob(name)]
        for line in path.read_bytes().splitlines()
    ]
    ends = {record["flow_id"]: record["lines"] for record in records if "outcome" in record}
    assert len(ends) == len(talks)
    until(lambda: all(len(reader.counts(each)) >= count for each, count in ends.items()), "the reader to have read all")
    reader.end()
    for flow_id, count in ends.items():
        on_record = sorted(record["data_count"] for record in records if record["flow_id"] == flow_id and "data_count" in record)
        assert on_record == list(range(count))
        assert sorted(reader.counts(flow_id)) == list(range(count))
    record_property("runs", rounds)
    record_property(f"lines, {how}", sum(ends.values()))
    record_property("lost", 0)
    record_property("doubled", 0)
