"""Who may use a server: tokens, compared in constant time; jobs belong to a token."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from typing import Final

from mien.errors import InputError

VARIABLE: Final = "MIEN_TOKENS"
"""Environment variable with the tokens, separated by commas or spaces."""

LOCAL: Final = "local"
"""Owner of everything on a server without tokens."""

_SHORTEST: Final = 16


class Tokens:
    """The tokens of a server.

    Args:
        tokens: the tokens; none at all let everybody in, who then shares everything.

    Raises:
        InputError: for a token that could be guessed.
    """

    def __init__(self, tokens: tuple[str, ...] = ()) -> None:
        if any(len(token) < _SHORTEST for token in tokens):
            raise InputError(
                f"A token of {VARIABLE} has fewer than {_SHORTEST} characters; make one with "
                "python -c 'import secrets; print(secrets.token_urlsafe(32))'."
            )
        self._known = {_digest(token): _digest(token).hex()[:32] for token in tokens}

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Tokens:
        """Return the tokens of ``MIEN_TOKENS``."""
        return cls(tuple(filter(None, re.split(r"[\s,]+", environment.get(VARIABLE, "")))))

    @property
    def required(self) -> bool:
        """Whether requests need a token."""
        return bool(self._known)

    def owner(self, authorization: str | None) -> str | None:
        """Return whose an ``Authorization`` header is; None for a missing or wrong token.

        Every token is compared in full, so that the time says nothing about them.
        """
        if not self._known:
            return LOCAL
        kind, _, token = (authorization or "").partition(" ")
        given, found = _digest(token.strip()), None
        for known, owner in self._known.items():
            if hmac.compare_digest(known, given) and kind.lower() == "bearer":
                found = owner
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
