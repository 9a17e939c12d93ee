"""Secrets out: the single door to every sink.

What identifies a secret is replaced whole by `hash:` + 16 hex digits, so that the same secret can be recognised
and never be read. High-entropy secrets are hashed plainly (two machines give the same hash); what a dictionary could
find (passwords, Basic auth, short values) is hashed with a local salt.
"""

import hashlib
import hmac
import re
from collections.abc import Collection, Iterable
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from capture.shapes import BEGUN, DONE, GOES_ON, HOLDS, Found, Shapes
from capture.shapes import RULES as RULES

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
MAX_KNOWN = 64  # secrets of headers that are looked for in bodies by their very bytes, the latest ones
KNOWN_FROM, KNOWN_TO = 12, 4096  # characters: a shorter one could be a word of any text, a longer one takes seconds to learn
IN_DOUBT = frozenset((HOLDS, GOES_ON, BEGUN))
SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z-]*\s+")  # before the credentials of a header


class Redactor:
    """Replaces secrets. `salt`: some local random bytes, the same for all captures of one machine."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self.shapes = Shapes()
        self._known: dict[bytes, None] = {}  # in the order in which they were learned

    def learn(self, headers: Iterable[tuple[str, str]]) -> None:
        """Secrets of these headers are from now on found in any text, whatever they look like.

        Only those that no rule knows by their shape. Cookies are left out: they change with every answer, and each new secret
        costs some 20 ms of another thread's time.
        """
        for name, value in headers:
            if not _is_secret(name.lower().replace("_", "-")) or "cookie" in name.lower():
                continue
            secret = SCHEME.sub("", value, count=1).strip().encode("utf-8", "surrogateescape")
            if secret in self._known or not KNOWN_FROM <= len(secret) <= KNOWN_TO or secret.isalpha() or b" " in secret:
                continue
            if not self.shapes.may_hold(secret):
                self._known[secret] = None
                self._known = dict.fromkeys(list(self._known)[-MAX_KNOWN:])
                self.shapes = Shapes(self._known)

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
            places = self._places(data)
            if not places:
                return data
            pieces, end = [], 0
            for start, stop, salted in places:
                pieces += [data[end:start], self.value(data[start:stop], salted).encode()]
                end = stop
            return b"".join([*pieces, data[end:]])
        except Exception as problem:  # whatever it is, it must not let the text through
            return unredacted(type(problem).__name__, len(data))

    def in_json(self, payload: bytes) -> Collection[int]:
        """What a JSON text may have: it HOLDS a secret, one of its strings GOES_ON. Nearly always nothing; if in doubt, all."""
        try:
            return self.shapes.in_json(payload) or ()
        except Exception:
            return IN_DOUBT

    def in_text(self, text: bytes) -> Collection[int]:
        """The same of a text, and whether a secret has BEGUN at its end."""
        try:
            return self.shapes.in_text(text)
        except Exception:
            return IN_DOUBT

    def surely_begun(self, text: bytes) -> bool:
        """Whether a secret has BEGUN, as the end of the text shows at a glance; if not, `in_text` knows."""
        try:
            return self.shapes.surely_begun(text)
        except Exception:
            return False

    def places(self, data: bytes) -> list[Found]:
        """Where the secrets of a text stand, from left to right; those that overlap are one. If in doubt, all of it."""
        try:
            return self._places(data)
        except Exception:
            return [Found(0, len(data), salted=True)]

    def _places(self, data: bytes) -> list[Found]:
        """The same; raises what the patterns raise."""
        if not self.shapes.may_hold(data):
            return []
        return together(found for found in self.shapes.found(data) if not DONE.fullmatch(data, found.start, found.stop))

    def begun(self, data: bytes) -> int | None:
        """Where the first secret begins that the text's end could be a part of; None when it can be of none."""
        try:
            return self.shapes.begun(data)
        except Exception:
            return 0

    def seam(self, data: bytes) -> int:
        """Where a text may be cut that goes on after `data`: no secret lies across, and both sides can be redacted apart.

        The last SEAM_BEFORE_END bytes are never before it: a secret that begins there may not have ended. A secret that is
        longer than SEAM_MOVES can be cut.
        """
        low, last = max(0, len(data) - SEAM_MOVES), max(0, len(data) - SEAM_BEFORE_END)
        window = data[low:]
        spans = [match.span() for pattern, _ in self.shapes.rules() for match in pattern.finditer(window)]
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


def together(places: Iterable[Found]) -> list[Found]:
    """The places from left to right, those that overlap as one."""
    joined: list[Found] = []
    for found in sorted(places):
        if joined and found.start < joined[-1].stop:
            last = joined.pop()
            found = Found(last.start, max(last.stop, found.stop), last.salted or found.salted)
        joined.append(found)
    return joined


def unredacted(reason: str, size: int) -> bytes:
    """The payload that stands for `size` bytes in which secrets could not be looked for."""
    return b'{"redaction_error":"%s","bytes":%d}' % (reason.encode(), size)


def _is_secret(name: str) -> bool:
    """Whether a header of this name (lower case) holds a secret."""
    return name in SECRET_HEADERS or (bool(SECRET_NAME.search(name)) and not name.endswith(NO_SECRETS))


def _around(spans: list[tuple[int, int]], at: int) -> int | None:
    """Where the first of the spans begins that lie across `at`; None when none does."""
    return min((start for start, end in spans if start < at < end), default=None)


def _quoted(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="surrogateescape")


SAFE_IN_QUERY = "$:/,!*'()@-._~"
