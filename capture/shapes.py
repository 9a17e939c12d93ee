"""What secrets look like: one rule for each shape, compiled; where a text holds one, and where one could have begun.

Patterns are written for RE2 (https://github.com/google/re2/wiki/Syntax): linear in time, and it does not hold the
interpreter lock. Without google-re2 the same patterns run on Python's `re`: same result, slower.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from capture.openings import beginning, opening

try:
    import re2
except ImportError:  # mitmproxy's own interpreter, when somebody runs the addon there
    re2 = None
FAST = re2 is not None

ESCAPES = (b"\\u00", b"\\/")  # in JSON: what it says must be read (Gemini writes `&` and `=` so, some servers each slash)
HOLDS, GOES_ON, BEGUN = 0, 1, 2  # what a text may have: a secret; at its end, the beginning of what one is known by, or of one
FEW = 6  # characters of a secret, behind those that all of its kind begin with: who has no more of it has nothing


MIXED = rb"[0-9]|[a-z][A-Z]"  # in what comes behind a word, and has not ended: `Bearer authentication` is no token
DIGITS_AMONG_LETTERS = rb"[0-9][^0-9]+[0-9]"  # in every random text, and hardly in `together-we-can-…-2024`


class Rule(NamedTuple):
    """A shape of secret: group 1 of the pattern is what is replaced, `salted` says how."""

    name: str
    pattern: str
    salted: bool = False
    sign: bytes = b""  # stands in every such secret: for shapes that words can have
    begun: bytes = b""  # stands in what is taken for one though its end was not seen


# A word begins here: also behind a JSON escape (`\n`, `\u0026`), a Python one (`\x1b`), a URL escape (`%3D`) or a colour
# (`ESC[32m`, `ESC[K` of grep), where \b would see one long word.
START = r"(?:^|[^0-9A-Za-z_]|\\[nrtbf]|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|%[0-9A-Fa-f]{2}|\[[0-9;]{0,20}[mK])"
START_CUT = (  # it, cut inside one of these or behind it
    r"\\(?:[nrtbf]|u[0-9A-Fa-f]{0,4}|x[0-9A-Fa-f]{0,2})?|%[0-9A-Fa-f]{0,2}|\[[0-9;]{0,20}[mK]?"
)
Q = r'(?:\\*"|\\+u0022)'  # a quote, at any depth of JSON inside JSON
SP = r"(?:\s|\\+[nrt])*"  # white space, also escaped

QUOTES = r"(?:\\+u002[27]|\\*[\"'])*"  # any quotes, also escaped ones (.NET writes them as \u0022, \u0027)
SPACE = r"(?: |\+|%20)"  # one space, also in a form or a URL
# a character of a token as some servers write it in JSON (`\/`, `\u003d`), quotes left out
ESCAPED = r"\\+(?:/|u00(?:[013-9A-Fa-f][0-9A-Fa-f]|2[013-689A-Fa-f]))"


FIELD = r"(?:^|[&\s\"']|\\[nrt]|\\u0026|\\u003[Ff])"  # a field of a form begins here; not START: it sees `self.access_token=name`


def _first(letter: str) -> str:
    """The first letter of a word, or where it would stand when a text is cut behind it: then hardly a text ends in a beginning."""
    return rf'(?:{letter}|^"?|[:\[,]\s*")'


RULES: tuple[Rule, ...] = (
    Rule(
        "private_key",
        rf"(-----BEGIN{SPACE}(?:[A-Z0-9]{{1,20}}{SPACE}){{0,3}}PRIVATE{SPACE}KEY(?:{SPACE}BLOCK)?-----"
        # its lines, also escaped, numbered (`  1→` of claude's Read tool, `│` of bat) or quoted
        r"(?:[A-Za-z0-9+/=:,.()|> \r\n\t]|-[A-Za-z0-9]|\\+(?:[nrt/]|u[0-9A-Fa-f]{4})|%[0-9A-Fa-f]{2}"
        r"|\xe2\x86\x92|\xe2\x94\x82)*"
        rf"(?:-----END{SPACE}(?:[A-Z0-9]{{1,20}}{SPACE}){{0,3}}PRIVATE{SPACE}KEY(?:{SPACE}BLOCK)?-----)?)",
    ),
    # what providers of models hand out
    Rule("anthropic", START + r"(sk-ant-[A-Za-z0-9_-]{8,})"),  # api03, oat01, ort01, sid01 …: the list is open
    Rule("openai", START + r"(sk-(?:proj|svcacct|admin|or-v1|None|service|lf|cp|sp|user|kimi)-[A-Za-z0-9_-]{16,})"),
    Rule("sk", START + r"(sk-[A-Za-z0-9]{20,})"),  # openai's old keys, deepseek, moonshot, litellm
    Rule("google_api", START + r"(AIza[A-Za-z0-9_-]{35,})"),
    Rule(
        "google_oauth",
        START + r"(ya29\.[A-Za-z0-9._-]{4,}|1(?:\\*/\\*/|%2[Ff]%2[Ff])0[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,})",
    ),
    Rule("huggingface", START + r"(hf_[A-Za-z0-9]{20,})"),
    Rule("groq", START + r"(gsk_[A-Za-z0-9]{20,})"),
    Rule("xai", START + r"(xai-[A-Za-z0-9]{20,})"),
    Rule("perplexity", START + r"(pplx-[A-Za-z0-9]{20,})"),
    Rule(
        "model_hosts",
        START + r"((?:r8|fw|tvly|nvapi|csk|fal|together)[_-][A-Za-z0-9_-]{24,})",
        sign=DIGITS_AMONG_LETTERS,
        begun=rb"[0-9][^0-9]|[a-z][A-Z]",
    ),
    # what the agents' tools come across
    Rule("github", START + r"(gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    Rule("gitlab", START + r"(gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat)-[A-Za-z0-9_-]{20,})"),
    Rule("aws_id", START + r"((?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16})\b"),
    Rule(
        "aws_secret",
        rf"(?i){_first('a')}ws.{{0,20}}?secret.{{0,20}}?[=:]" + SP + QUOTES + r"((?:[A-Za-z0-9/+]|\\/){40})(?:[^A-Za-z0-9/+=]|$)",
    ),
    Rule("slack", START + r"(xox[abeprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|xoxe\.xox[bp]-[A-Za-z0-9-]{10,})"),
    Rule("stripe", START + r"((?:sk|rk|pk|whsec)_(?:live_|test_)?[A-Za-z0-9]{20,})"),
    Rule("npm", START + r"(npm_[A-Za-z0-9]{30,})"),
    Rule("pypi", START + r"(pypi-[A-Za-z0-9_-]{40,})"),
    Rule("digitalocean", START + r"(do[opr]_v1_[a-f0-9]{40,})"),
    Rule("sendgrid", START + r"(SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})"),
    Rule("vault", START + r"(hv[sbr]\.[A-Za-z0-9_-]{20,})"),
    Rule("shopify", START + r"(shp(?:at|ss|ca|pa)_[A-Fa-f0-9]{24,})"),
    Rule(
        "services",
        START + r"((?:lin_api|ntn|secret|dapi|sntrys|sgp|figd|PMAK|rt)_[A-Za-z0-9_-]{24,})",
        sign=DIGITS_AMONG_LETTERS,
        begun=rb"[0-9][^0-9]|[a-z][A-Z]",
    ),
    Rule("telegram", START + r"(?:bot)?([0-9]{8,10}(?::|%3[Aa])AA[A-Za-z0-9_-]{32,})"),  # in a URL: /bot<token>/sendMessage
    # what stands in headers, URLs, commands and OAuth answers
    Rule("jwt", START + r"(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?)"),
    Rule("bearer", rf"(?i){_first('b')}earer(?:\s|%20|\+)+((?:[A-Za-z0-9._~+/=-]|{ESCAPED}){{16,}})", sign=MIXED),
    Rule(
        "basic",
        rf"(?i){_first('a')}uthorization" + QUOTES + SP + "[:=,]" + SP + QUOTES + r"basic\s+([A-Za-z0-9+/=_-]{6,})",
        salted=True,
    ),
    Rule(
        "curl_user",
        START
        + r"curl\b(?:[^|;\n]|\\\n){0,400}?\s(?:-u|--user|--proxy-user)=?"
        + SP
        + QUOTES
        + r"([^\s:\\\"'|;$]{0,100}:[^\s\\\"'|;]+)",
        salted=True,
    ),
    Rule(
        "url_user",  # of the scheme only its end: a repeat in front makes RE2 try all beginnings at once (0.9 s per MB of base64)
        _first("[a-zA-Z0-9+.-]") + r":\\*/\\*/([^\s/:@\\\"'<>?#{}$|*]{0,100}:[^\s/@\\\"'<>{}$|*][^\s/@\\\"'<>]*)@",
        salted=True,
        begun=rb":[^0-9].{6}|:.*[0-9].*[^0-9].{4}",  # not a host, and not a port
    ),
    Rule(
        "url_parameter",
        r"(?i)(?:[?&#]|\\u0026|&amp;|%26|%3F|%23)"
        r"(?:key|api_?key|access_token|refresh_token|id_token|token|sig|signature|code|client_secret"
        r"|X-Amz-Signature|X-Amz-Security-Token)(?:=|%3D)((?:[A-Za-z0-9._~+/=%-]|\\/){8,})",
        salted=True,
    ),
    Rule(
        "oauth_json",
        rf"(?i){_first(Q)}(?:access_?token|refresh_?token|id_?token|client_?secret|code_?verifier){Q}{SP}:{SP}{Q}"
        # no token begins so, but what stands behind a JSON string does: `…\"id_token\":"}}` is a piece that ends there
        rf'((?:[^"\\\s{{}}\[\],]|{ESCAPED})(?:[^"\\\s]|{ESCAPED}){{3,}})',
        salted=True,
    ),
    *(
        Rule("oauth_form", rf"(?i){name}=((?:[A-Za-z0-9._~+/%-]|\\/){{8,}})", salted=True)
        for name in (
            _first(FIELD + "a") + "ccess_token",
            _first(FIELD + "r") + "efresh_token",
            _first(FIELD + "c") + "(?:lient_secret|ode_verifier|lient_assertion)",
            FIELD + "id_token",  # whole: many names end in `d_token`
        )
    ),
)


BOUND = re.compile(r"\{([01]),(\d+)\}\??")
DONE = re.compile(rb"hash:[0-9a-f]{16}")  # what stands where a secret stood


class Found(NamedTuple):
    """Where a secret stands in a text, and how it is to be replaced."""

    start: int
    stop: int
    salted: bool


class _Compiled(NamedTuple):
    name: str
    pattern: Any  # with `finditer`
    salted: bool
    beginning: Any  # what could become a match, at the end of a text
    few: int  # bytes of a secret that give nothing away
    begun: re.Pattern[bytes]


class Shapes:
    """The rules, ready to search; `known` are secrets without a shape of their own, found by their very bytes."""

    def __init__(self, known: Iterable[bytes] = ()) -> None:
        rules = [*(Rule("known", f"({_literal(secret)})") for secret in known), *RULES]
        self._rules = [_compiled(rule) for rule in rules]
        holds, openings = [_loose(rule.pattern, 10) for rule in rules], [_at_end(pattern) for pattern in _openings(rules)]
        begins = [f"(?:{START_CUT})", *(_loose(beginning(rule.pattern), 100) for rule in rules)]
        string_ends = rf'(?:"\s*(?:[,}}\]]|{_end()})|{_end()})'
        self.may_hold = _which(holds)
        """Something where a text can hold any secret at all: one pass, no positions."""
        self.in_json = _which([*holds, *map(_literal, ESCAPES)], [pattern + string_ends for pattern in begins])
        """What a JSON text may have: HOLDS a secret, one of its strings GOES_ON. One pass; nearly always nothing."""
        self._in_text = _which(holds, [_at_end(pattern) for pattern in begins])
        self._has_begun = _which(*([pattern] for pattern in openings))
        self._begun = [_compile(pattern) for pattern in openings]
        self._begun_in = _remembering(self._has_begun)

    def in_text(self, text: bytes) -> Collection[int]:
        """What a text may have: HOLDS a secret, GOES_ON; and whether a secret has BEGUN at its end."""
        seen = self._in_text(text) or ()
        return (*seen, BEGUN) if GOES_ON in seen and self._has_begun(text) else seen

    def surely_begun(self, text: bytes) -> bool:
        """Whether a secret has begun, as the last two characters alone show; mostly it is a word of which one letter is there."""
        return self._begun_in(text[-2:])

    def rules(self) -> Iterator[tuple[Any, bool]]:
        """Each rule's pattern (group 1 is the secret) and whether its hash is salted, in their order."""
        return ((rule.pattern, rule.salted) for rule in self._rules)

    def names(self, data: bytes) -> list[str]:
        """The names of the rules that see a secret, one for each place; of rules that see the same place the first."""
        places: dict[tuple[int, int], str] = {}
        for rule in self._rules:
            for match in rule.pattern.finditer(data):
                if not DONE.fullmatch(data, match.start(1), match.end(1)):
                    places.setdefault(match.span(1), rule.name)
        return list(places.values())

    def found(self, data: bytes) -> list[Found]:
        """Every place where a rule sees a secret; the places of two rules may overlap."""
        return [Found(match.start(1), match.end(1), salted) for pattern, salted in self.rules() for match in pattern.finditer(data)]

    def begun(self, data: bytes) -> int | None:
        """Where the first of the secrets begins that the end of a text could be a part of; None when it can be of none."""
        found = (self._begun[number].search(data) for number in self._has_begun(data) or ())
        return min((match.start(1) for match in found if match), default=None)

    def much(self, data: bytes) -> bool:
        """Whether the end of a text could be a secret of which more than FEW characters are there."""
        found = ((match.start(1), rule) for rule in self._rules if (match := rule.beginning.search(data)))
        return any(len(data) - start > rule.few and rule.begun.search(data, start) for start, rule in found)


def _remembering(has_begun: Callable[[bytes], Collection[int] | None]) -> Callable[[bytes], bool]:
    """Whether a secret has begun behind the last characters of a text, which stand in a word; the answers are kept."""
    return lru_cache(maxsize=1 << 12)(lambda end: bool(has_begun(b"_" + end)))


@lru_cache(maxsize=256)
def _compiled(rule: Rule) -> _Compiled:
    begins = opening(rule.pattern)
    whole = _Signed(_compile(rule.pattern), re.compile(rule.sign)) if rule.sign else _compile(rule.pattern)
    begun = re.compile(rule.begun or (b"" if begins.lead else MIXED), re.DOTALL)
    return _Compiled(rule.name, whole, rule.salted, _compile(_at_end(begins.pattern)), begins.lead + FEW, begun)


class _Signed(NamedTuple):
    """A pattern of whose matches only those count that hold a sign."""

    pattern: Any
    sign: re.Pattern[bytes]

    def finditer(self, data: bytes) -> Iterator[Any]:
        return (match for match in self.pattern.finditer(data) if self.sign.search(match.group(1)))


def _openings(rules: list[Rule]) -> list[str]:
    """The openings of all rules; those behind START are one pattern: each search costs, however little it finds."""
    words = "|".join(opening(rule.pattern[len(START) :]).pattern for rule in rules if rule.pattern.startswith(START + "("))
    others = [opening(rule.pattern).pattern for rule in rules if not rule.pattern.startswith(START + "(")]
    return [f"{START}({words})", *others]


def _loose(pattern: str, least: int) -> str:
    """The pattern without upper bounds of `least` and more: it matches all that the pattern does, and more.

    Each character that is counted is a state of the automaton, and any set of these another one: of some texts a MB took 8 s.
    """
    return BOUND.sub(lambda match: match[0] if int(match[2]) < least else "*" if match[1] == "0" else "+", pattern)


def _at_end(pattern: str) -> str:
    return pattern + _end()


def _end() -> str:
    return r"\z" if re2 is not None else r"\Z"


def _literal(text: bytes) -> str:
    """A pattern that only this text matches."""
    return "".join(f"\\x{byte:02x}" for byte in text)


def _compile(pattern: str) -> Any:
    """A compiled bytes pattern with `search` and `finditer`, on the library that is there."""
    return re.compile(pattern.encode()) if re2 is None else re2.compile(pattern.encode(), _options())


def _options() -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.max_mem = 64 << 20
    return options


def _which(*groups: list[str]) -> Callable[[bytes], Collection[int] | None]:
    """The numbers of the groups with a pattern that a text matches: all in one pass, where RE2 is.

    Every call of RE2 gives the interpreter lock away, and has to get it back from the proxy's busy loop.
    """
    if re2 is None:
        compiled = [[_compile(pattern) for pattern in patterns] for patterns in groups]
        return lambda text: [number for number, any_of in enumerate(compiled) if any(each.search(text) for each in any_of)]
    options = _options()
    options.never_capture = True
    together = re2.Set.SearchSet(options)
    for patterns in groups:
        together.Add("|".join(f"(?:{pattern})" for pattern in patterns).encode())
    together.Compile()
    which: Callable[[bytes], Collection[int] | None] = together.Match
    return which
