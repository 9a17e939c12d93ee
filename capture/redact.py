"""Secrets out: the single door to every sink.

What identifies a secret is replaced whole by `hash:` + 16 hex digits, so that the same secret can be recognised
and never be read. High-entropy secrets are hashed plainly (two machines give the same hash); what a dictionary could
find (passwords, Basic auth, short values) is hashed with a local salt.

Patterns are written for RE2 (https://github.com/google/re2/wiki/Syntax): linear in time, and it does not hold the
interpreter lock. Without google-re2 the same patterns run on Python's `re`: same result, slower.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

try:
    import re2
except ImportError:  # mitmproxy's own interpreter, when somebody runs the addon there
    re2 = None
FAST = re2 is not None

SECRET_HEADERS = frozenset(
    """authorization cookie set-cookie x-api-key proxy-authorization x-goog-api-key api-key x-amz-security-token
    sec-websocket-protocol x-auth-token x-access-token x-csrf-token x-xsrf-token cf-access-jwt-assertion
    cf-access-client-secret openai-api-key anthropic-api-key x-github-token private-token x-vault-token""".split()
)
SECRET_NAME = re.compile(  # how a header's name ends that holds a secret; who puts gateways before models invents new ones
    r"(?:^|-)(?:(?:api|access|auth|secret)?key|token|secret|auth|authorization|authentication|passw(?:or)?d|cookie\d?"
    r"|credentials?|signature|jwt|assertion)$"
)
NO_SECRETS = (  # how names end that look so and hold ids, which a reader needs to tell requests apart
    "idempotency-key",  # one per request, so that a repeat is known as one; also x-idempotency-key (stainless SDKs)
    "sec-websocket-key",  # a nonce of the handshake: https://www.rfc-editor.org/rfc/rfc6455#section-11.3.1
    "cache-key",  # names a prompt or an answer in a cache; also cf-aig-cache-key
    "surrogate-key",  # tags of an answer in a cache (Fastly)
    "partition-key",  # names a shard of a store
)
CREDENTIALS = re.compile(r"\s*(basic|bearer)\s", re.IGNORECASE)  # how a value begins that is a secret under any name
CHALLENGES = ("www-authenticate", "proxy-authenticate")  # they say what is asked for, and why a call was refused
SECRET_PARAMETERS = frozenset(
    """key api_key apikey api-key access_token accesstoken token id_token refresh_token client_secret code
    code_verifier sig signature secret subscription-key password passwd pwd auth authorization credential session_token
    x-amz-signature x-amz-credential x-amz-security-token x-goog-signature x-goog-credential""".split()
)
SEAM_BEFORE_END = (
    64 << 10
)  # bytes: no secret is longer (a private key with its chain: some 10 KB), so none beginning before is unseen
SEAM_MOVES = 1 << 20  # bytes from the end of a text: how far a secret can push its seam back
SEPARATORS = (b" ", b'"', b"\n", b",")  # no secret that is known by its shape has one
SHORT = 20  # characters; a value this short may be a password or be guessable, so its hash is salted


class Rule(NamedTuple):
    """A shape of secret: group 1 of the pattern is what is replaced, `salted` says how."""

    name: str
    pattern: str
    salted: bool = False


# A word begins here: also behind a JSON escape (`\n`, `\u0026`), a Python one (`\x1b`), a URL escape (`%3D`) or a colour
# (`ESC[32m`, `ESC[K` of grep), where \b would see one long word.
START = r"(?:^|[^0-9A-Za-z_]|\\[nrtbf]|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|%[0-9A-Fa-f]{2}|\[[0-9;]{0,20}[mK])"
Q = r'\\*"'  # a quote, at any depth of JSON inside JSON
SP = r"(?:\s|\\[nrt])*"  # white space, also escaped

QUOTES = r'[\\"' + r"']*"  # any quotes, also escaped ones
SPACE = r"(?: |\+|%20)"  # one space, also in a form or a URL
ESCAPED = r"\\+(?:/|u00[0-9A-Fa-f]{2})"  # a character of a token as some servers write it in JSON (`\/`, `\u003d`)

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
    Rule("google_oauth", START + r"(ya29\.[A-Za-z0-9._-]{4,}|1//0[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,})"),
    Rule("huggingface", START + r"(hf_[A-Za-z0-9]{20,})"),
    Rule("groq", START + r"(gsk_[A-Za-z0-9]{20,})"),
    Rule("xai", START + r"(xai-[A-Za-z0-9]{20,})"),
    Rule("perplexity", START + r"(pplx-[A-Za-z0-9]{20,})"),
    Rule("model_hosts", START + r"((?:r8|fw|tvly|nvapi|csk|fal|together)[_-][A-Za-z0-9_-]{24,})"),
    # what the agents' tools come across
    Rule("github", START + r"(gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
    Rule("gitlab", START + r"(gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat)-[A-Za-z0-9_-]{20,})"),
    Rule("aws_id", START + r"((?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16})\b"),
    Rule(
        "aws_secret",
        r"(?i)aws.{0,20}?secret.{0,20}?[=:]" + SP + QUOTES + r"([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)",
    ),
    Rule("slack", START + r"(xox[abeprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}|xoxe\.xox[bp]-[A-Za-z0-9-]{10,})"),
    Rule("stripe", START + r"((?:sk|rk|pk|whsec)_(?:live_|test_)?[A-Za-z0-9]{20,})"),
    Rule("npm", START + r"(npm_[A-Za-z0-9]{30,})"),
    Rule("pypi", START + r"(pypi-[A-Za-z0-9_-]{40,})"),
    Rule("digitalocean", START + r"(do[opr]_v1_[a-f0-9]{40,})"),
    Rule("sendgrid", START + r"(SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})"),
    Rule("vault", START + r"(hv[sbr]\.[A-Za-z0-9_-]{20,})"),
    Rule("shopify", START + r"(shp(?:at|ss|ca|pa)_[A-Fa-f0-9]{24,})"),
    Rule("services", START + r"((?:lin_api|ntn|secret|dapi|sntrys|sgp|figd|PMAK|rt)_[A-Za-z0-9_-]{24,})"),
    Rule("telegram", START + r"(?:bot)?([0-9]{8,10}(?::|%3[Aa])AA[A-Za-z0-9_-]{32,})"),  # in a URL: /bot<token>/sendMessage
    # what stands in headers, URLs, commands and OAuth answers
    Rule("jwt", START + r"(eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?)"),
    Rule("bearer", rf"(?i)bearer(?:\s|%20|\+)+((?:[A-Za-z0-9._~+/=-]|{ESCAPED}){{16,}})"),
    Rule(
        "basic",
        r"(?i)authorization" + QUOTES + SP + "[:=,]" + SP + QUOTES + r"basic\s+([A-Za-z0-9+/=_-]{6,})",
        salted=True,
    ),
    Rule(
        "curl_user",
        r"(?:^|[^0-9A-Za-z_])curl\b[^|;\n]{0,400}?\s(?:-u|--user|--proxy-user)[ =]?"
        + QUOTES
        + r"([^\s:\\\"'|;$]{1,100}:[^\s\\\"'|;]+)",
        salted=True,
    ),
    Rule(
        "url_user",  # of the scheme only its end: a repeat in front makes RE2 try all beginnings at once (0.9 s per MB of base64)
        r"[a-zA-Z0-9+.-]:\\*/\\*/([^\s/:@\\\"'<>?#{}$|*]{0,100}:[^\s/@\\\"'<>{}$|*][^\s/@\\\"'<>]*)@",
        salted=True,
    ),
    Rule(
        "url_parameter",
        r"(?i)(?:[?&;#]|\\u0026|&amp;|%26|%3F|%23)"
        r"(?:key|api_?key|access_token|refresh_token|id_token|token|sig|signature|code|client_secret"
        r"|X-Amz-Signature|X-Amz-Security-Token)(?:=|%3D)([A-Za-z0-9._~+/=%-]{8,})",
        salted=True,
    ),
    Rule(
        "oauth_json",
        rf"(?i){Q}(?:access_?token|refresh_?token|id_?token|client_?secret|code_?verifier){Q}{SP}:{SP}{Q}"
        rf'((?:[^"\\\s]|{ESCAPED}){{4,}})',
        salted=True,
    ),
    Rule(
        "oauth_form",
        r"(?i)(?:^|[&\s\"'])"
        r"(?:access_token|refresh_token|id_token|client_secret|code_verifier|client_assertion)=([A-Za-z0-9._~+/%-]{8,})",
        salted=True,
    ),
)


def _compile(pattern: str) -> Any:
    """A compiled bytes pattern with `search` and `finditer`, on the library that is there."""
    if re2 is None:
        return re.compile(pattern.encode())
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.max_mem = 64 << 20
    return re2.compile(pattern.encode(), options)


_COMPILED = [(_compile(rule.pattern), rule.salted) for rule in RULES]


def _screen() -> Callable[[bytes], bool]:
    """Whether a text can hold any secret at all: one pass, no positions; the rules run only where it says yes."""
    if re2 is None:
        patterns = [pattern for pattern, _ in _COMPILED]
        return lambda text: any(pattern.search(text) for pattern in patterns)
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.never_capture = True
    options.max_mem = 64 << 20
    together = re2.compile("|".join(f"(?:{rule.pattern})" for rule in RULES).encode(), options)
    try:  # what `search` does inside, without the match object that nobody looks at: 0.4 µs less for each event
        match, unanchored, nowhere = together._regexp.Match, re2._Anchor.UNANCHORED, (-1, -1)
        if match(unanchored, b"", 0, 0)[0] != nowhere:
            raise TypeError("not the function of google-re2 1.1")
    except (AttributeError, TypeError, IndexError):  # it is private: another version may not have it
        return lambda text: together.search(text) is not None
    return lambda text: match(unanchored, text, 0, len(text))[0] != nowhere


class Redactor:
    """Replaces secrets. `salt`: some local random bytes, the same for all captures of one machine."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._can_hold_secret = _screen()

    def value(self, secret: str | bytes, salted: bool = False) -> str:
        """`hash:` + 16 hex digits for one secret; salted when asked or when the secret is short."""
        data = secret if isinstance(secret, bytes) else secret.encode("utf-8", "surrogateescape")
        if salted or len(data) < SHORT:
            return "hash:" + hmac.new(self._salt, data, hashlib.sha256).hexdigest()[:16]
        return "hash:" + hashlib.sha256(data).hexdigest()[:16]

    def text(self, data: bytes) -> bytes:
        """The same text with every known shape of secret replaced; text without one comes back as the same object.

        Fails closed: when a pattern cannot be run the text is not given out, only its size and the reason.
        """
        try:
            if not self._can_hold_secret(data):
                return data
            for pattern, salted in _COMPILED:
                data = self._replace(pattern, salted, data)
            return data
        except Exception as problem:  # whatever it is, it must not let the text through
            return b'{"redaction_error":"%s","bytes":%d}' % (type(problem).__name__.encode(), len(data))

    def seam(self, data: bytes) -> int:
        """Where a text may be cut that goes on after `data`: no secret lies across, and both sides can be redacted apart.

        The last SEAM_BEFORE_END bytes are never before it: a secret that begins there may not have ended. A secret that is
        longer than SEAM_MOVES can be cut.
        """
        low, last = max(0, len(data) - SEAM_MOVES), max(0, len(data) - SEAM_BEFORE_END)
        window = data[low:]
        spans = [match.span() for pattern, _ in _COMPILED for match in pattern.finditer(window)]
        spans = [(low + start, low + end) for start, end in spans]
        apart = last  # the last place that is in no secret, whatever stands there
        while (around := _around(spans, apart)) is not None:
            apart = around
        at = apart
        while (at := 1 + max(data.rfind(mark, low, at) for mark in SEPARATORS)) > low:
            if (around := _around(spans, at)) is None:
                return at
            at = around
        return apart

    def string(self, text: str) -> str:
        """`text` for a str."""
        try:
            data = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # half a surrogate pair, out of a JSON escape
            data = text.encode("utf-8", "surrogatepass")
        clean = self.text(data)
        return text if clean is data else clean.decode("utf-8", "surrogateescape")

    def headers(self, fields: Iterable[tuple[str, str]]) -> list[list[str]]:
        """All header fields in their order as [name, value]; a secret header's value is a hash, others are screened."""
        return [[name, self.header(name, value)] for name, value in fields]

    def header(self, name: str, value: str) -> str:
        lower = name.lower()
        credentials = None if lower in CHALLENGES else CREDENTIALS.match(value)
        if credentials or _is_secret(lower.replace("_", "-")):
            return self.value(value, salted=credentials is not None and credentials[1].lower() == "basic")
        if lower in ("location", "referer", "content-location", "origin", "link"):
            return self.url(value)
        return self.string(value)

    def url(self, url: str) -> str:
        """The URL with its query parameters sorted, secret parameters and user-info replaced, other secrets too."""
        try:
            parts = urlsplit(url)
            pairs = parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape")
        except ValueError:
            return self.string(url)
        query = "&".join(f"{_quoted(name, '$')}={self._parameter(name, value)}" for name, value in sorted(pairs))
        user, at, host = parts.netloc.rpartition("@")
        netloc = self.value(user, salted=True) + at + host if user else host
        return self.string(urlunsplit((parts.scheme, netloc, parts.path, query, parts.fragment)))

    def _parameter(self, name: str, value: str) -> str:
        secret = value and name.lower() in SECRET_PARAMETERS
        return self.value(value) if secret else _quoted(self.string(value), SAFE_IN_QUERY)

    def _replace(self, pattern: Any, salted: bool, data: bytes) -> bytes:
        pieces, end = [], 0
        for match in pattern.finditer(data):
            start, stop = match.span(1)
            if DONE.fullmatch(data, start, stop):
                continue
            pieces += [data[end:start], self.value(data[start:stop], salted).encode()]
            end = stop
        return b"".join([*pieces, data[end:]]) if pieces else data


def _is_secret(name: str) -> bool:
    """Whether a header of this name (lower case) holds a secret."""
    return name in SECRET_HEADERS or (bool(SECRET_NAME.search(name)) and not name.endswith(NO_SECRETS))


def _around(spans: list[tuple[int, int]], at: int) -> int | None:
    """Where the first of the spans begins that lie across `at`; None when none does."""
    return min((start for start, end in spans if start < at < end), default=None)


def _quoted(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="surrogateescape")


SAFE_IN_QUERY = "$:/,!*'()@-._~"
DONE = re.compile(rb"hash:[0-9a-f]{16}")  # what an earlier rule put there
