"""Of logs with all that goes wrong, in all three dialects, every word is drawn once on the card it belongs to."""

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from bench.generate import Wanted, generate
from capture.files import LINES
from capture.live.printable import printable
from capture.scan import Source, read
from capture.scan.following import following
from capture.turns import run
from capture.updates import Answered, Exchange, TurnStarted
from tests import golden_live
from tests.test_live_view import blocks, squeezed

LONG = 60  # characters of a text that nothing else happens to say too


def drawn(where: str) -> str:
    source, view = following(where, "start"), golden_live.view(golden_live.PLAIN, ids=99)
    out = []
    while (items := source.poll()) or source.behind:
        out.append(view.feed(items or []))
    return "".join(out) + view.feed(source.close()) + view.close()


@pytest.mark.parametrize("dialect", ["ours", "claude_log", "codex_log"])
def test_every_word_of_a_nasty_log_is_drawn_once(tmp_path: Path, dialect: str) -> None:
    generate(Wanted(tmp_path, dialect=dialect, lines=4000, nasty=True))
    source = Source(tmp_path) if dialect == "ours" else Source(None, str(tmp_path / LINES))
    text = drawn(str(tmp_path if dialect == "ours" else tmp_path / LINES))
    cards = {key: squeezed(card) for key, card in blocks(text).items()}
    exchanges: dict[str, list[Exchange]] = defaultdict(list)
    for update in run(read(source)):
        if isinstance(update, Answered):
            exchanges[update.exchange.flow_id].append(update.exchange)
        elif isinstance(update, TurnStarted):
            assert squeezed(printable(update.turn.text)) in cards["prompts:" + update.turn.sid]
    for flow_id, answers in exchanges.items():
        said = [squeezed(printable(each)) for answer in answers for each in (answer.answer.reasoning, answer.answer.text)]
        for words, times in Counter(said).items():
            found = cards.get(flow_id, "").count(words) if words else times
            assert found == times or (found > times and len(words) < LONG), (flow_id, words)
    assert sum(map(len, exchanges.values())) > 100
