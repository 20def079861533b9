"""The headers that pass between clients and tenants' code. Pure.

All databases share an origin, of which a tenant controls some answers: neither what a browser
sends to the whole origin, nor what an answer sets for the whole origin, is a tenant's.
"""

import re

from tenantry_rest import Answer

Raw = list[tuple[bytes, bytes]]

# Browsers send cookies of a host to each of its ports, so also those of a console at another port.
_NOT_RECEIVED = frozenset({b"cookie", b"cookie2", b"proxy-authorization"})
# What a browser applies beyond this answer: to the origin, to its host, or to later requests.
_NOT_SENT = frozenset(
    {
        "accept-ch",
        "activate-storage-access",
        "alt-svc",
        "clear-site-data",
        "content-security-policy",
        "content-security-policy-report-only",
        "critical-ch",
        "expect-ct",
        "nel",
        "origin-agent-cluster",
        "public-key-pins",
        "public-key-pins-report-only",
        "report-to",
        "service-worker-allowed",
        "set-cookie",
        "set-cookie2",
        "set-login",
        "strict-transport-security",
        "use-as-dictionary",
        "x-content-type-options",
    }
)
# By another scheme, a browser asks for a password, and sends it to the whole origin.
_PARAMETER = r'[a-z_]+="(?:[^"\\]|\\.)*"'
_BEARER = re.compile(rf"Bearer(?: {_PARAMETER}(?:, {_PARAMETER})*)?")
_NO_GUESSES = ("X-Content-Type-Options", "nosniff")
# Scripts do not run, and a document has an origin of its own, whatever its type is.
_SANDBOX = ("Content-Security-Policy", "sandbox")


def received(headers: Raw) -> Raw:
    """Return the headers of a request that tenants' code may see."""
    return [each for each in headers if each[0].lower() not in _NOT_RECEIVED]


def typed(answer: Answer) -> Answer:
    """Return one of our own answers, whose type browsers do not guess."""
    answer.headers.append(_NO_GUESSES)
    return answer


def guarded(answer: Answer) -> Answer:
    """Return a database's answer without headers that apply beyond it, and without scripts."""
    answer.headers = [each for each in answer.headers if _is_sent(*each)]
    answer.headers += [_NO_GUESSES, _SANDBOX]
    return answer


def _is_sent(name: str, value: str) -> bool:
    if name.lower() == "www-authenticate":
        return _BEARER.fullmatch(value) is not None
    return name.lower() not in _NOT_SENT
