"""OpenID Connect: the server as a client of the team's identity provider. Authorization code with PKCE, state and nonce.

What a provider says of somebody counts only in an ID token that it signed, for us, for this very sign-in, and that has not expired.
Blocking: called in threads. Authlib and joserfc, of the extra `auth`, are imported when a provider is set up.
"""

import asyncio
import logging
import secrets
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from stratal.core.clock import Clock, SystemClock
from stratal.core.errors import Misuse, StoreDown
from stratal.core.records import Record
from stratal.core.settings import Oidc
from stratal.server.guards import Unauthenticated
from stratal.store.marks import is_loopback
from stratal.store.trusting import advice, authorities

log = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds for all of one answer of the provider; for which its addresses and keys are kept, and before which keys are not fetched
# again; by which its clock may differ. The largest answer that is read.
ANSWER_S, KEEP_S, AGAIN_S, LEEWAY_S, MOST_BYTES = 10.0, 3600.0, 60.0, 60, 1 << 20
# Characters of a subject, as OpenID Connect says.
MOST_SUBJECT = 255
# Signatures of a key pair only: with a shared secret, or none, anybody who knows our secret could sign.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
# What an admin looks at where a claim is not as it must be.
_CLOCKS, _CLIENT = (
    "compares the clocks of this server and the provider",
    "sets STRATAL_OIDC_CLIENT_ID to the client that the provider knows",
)
_REMEDIES = {"exp": _CLOCKS, "nbf": _CLOCKS, "iat": _CLOCKS, "aud": _CLIENT, "azp": _CLIENT}


class Endpoints(Record, frozen=True, kw_only=True):
    """Where a provider does what, as it says itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class Attempt(Record, frozen=True, kw_only=True):
    """What the browser keeps, in a cookie, until it comes back. goes_to: a path of this server."""

    state: str
    nonce: str
    verifier: str
    goes_to: str


class Tokens(Record, frozen=True, kw_only=True):
    """What the provider gives for a code."""

    id_token: str
    access_token: str = ""


class Refusal(Record, frozen=True, kw_only=True):
    """Why the provider gives nothing for a code."""

    error: str = ""


class Claimed(Record, frozen=True, kw_only=True):
    """Who signed in. subject: 'ISSUER SUBJECT'. groups: none if the provider says nothing of them: some leave the claim out then."""

    subject: str
    name: str
    display: str
    groups: tuple[str, ...]


class Provider:
    """One provider. Safe for threads."""

    def __init__(self, oidc: Oidc, *, clock: Clock | None = None) -> None:
        if find_spec("authlib") is None or find_spec("joserfc") is None:
            raise Misuse("signing in through OIDC needs Authlib, which is not installed", hint="pip install 'stratal[auth]'")
        _check_place("the issuer", oidc.issuer)
        self._oidc, self._clock = oidc, clock or SystemClock()
        self._change = threading.Lock()
        self._endpoints: tuple[Endpoints, float] | None = None
        self._keys: tuple[Mapping[str, object], float] | None = None

    def begin(self, redirect_uri: str, goes_to: str) -> tuple[str, Attempt]:
        """Give the address that the browser is sent to, and what it keeps meanwhile. Raises StoreDown."""
        from authlib.common.urls import add_params_to_uri
        from authlib.oauth2.rfc7636 import create_s256_code_challenge

        attempt = Attempt(state=_random(), nonce=_random(), verifier=_random(), goes_to=goes_to)
        asked = {
            "response_type": "code", "client_id": self._oidc.client_id, "redirect_uri": redirect_uri, "scope": self._oidc.scope,
            "state": attempt.state, "nonce": attempt.nonce,
            "code_challenge": create_s256_code_challenge(attempt.verifier), "code_challenge_method": "S256",
        }  # fmt: skip
        return str(add_params_to_uri(self._where().authorization_endpoint, list(asked.items()))), attempt

    def finish(self, code: str, attempt: Attempt, redirect_uri: str) -> Claimed:
        """Give who came back with that code. Raises Unauthenticated, StoreDown."""
        body = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": attempt.verifier}
        where, auth = self._where(), None
        if not self._oidc.client_secret:
            body["client_id"] = self._oidc.client_id
        elif "client_secret_basic" in where.token_endpoint_auth_methods_supported:
            auth = httpx.BasicAuth(self._oidc.client_id, self._oidc.client_secret)
        else:
            body |= {"client_id": self._oidc.client_id, "client_secret": self._oidc.client_secret}
        answer = self._fetch("POST", where.token_endpoint, Tokens, body=body, auth=auth)
        return self._claimed(self._verified(answer, attempt.nonce, where))

    def _claimed(self, claims: Mapping[str, object]) -> Claimed:
        name, groups = claims.get(self._oidc.name_claim), claims.get(self._oidc.groups_claim)
        subject = str(claims["sub"])
        if len(subject) > MOST_SUBJECT or not subject.isprintable():
            raise Unauthenticated("the provider says a subject that can be none", hint=f"one has at most {MOST_SUBJECT} characters")
        if not isinstance(name, str):
            raise Unauthenticated(f"the provider says no {self._oidc.name_claim}", hint="set STRATAL_OIDC_NAME_CLAIM to one that it says")
        display = claims.get("name")
        return Claimed(
            subject=f"{claims['iss']} {subject}",
            name=name,
            display=display[:200] if isinstance(display, str) and display.isprintable() else "",
            groups=tuple(str(each) for each in groups) if isinstance(groups, list) else (groups,) if isinstance(groups, str) else (),
        )

    def _verified(self, answer: Tokens, nonce: str, where: Endpoints) -> Mapping[str, object]:
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        def decode(is_again: bool) -> jwt.Token:
            keys = KeySet.import_key_set(self._key_set(where, is_again=is_again))  # type: ignore[arg-type]  # it checks what it gets
            return jwt.decode(answer.id_token, keys, algorithms=list(ALGORITHMS))

        try:
            try:
                token = decode(False)
            except (JoseError, ValueError):  # signed by a key that is new since
                token = decode(True)
            claims = CodeIDToken(
                token.claims,
                token.header,
                options={
                    "iss": {"essential": True, "value": where.issuer},
                    "aud": {"essential": True, "value": self._oidc.client_id},
                    "sub": {"essential": True},
                },
                params={"nonce": nonce, "client_id": self._oidc.client_id, "access_token": answer.access_token},
            )
            claims.validate(now=self._clock.now_ns() // 1_000_000_000, leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise _distrusted(error) from error
        return claims  # type: ignore[no-any-return]  # a dict

    def _where(self) -> Endpoints:
        now_s = self._clock.monotonic_s()
        with self._change:
            if self._endpoints is not None and now_s < self._endpoints[1]:
                return self._endpoints[0]
        issuer = self._oidc.issuer
        found = self._fetch("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration", Endpoints)
        if found.issuer != issuer:
            raise StoreDown(f"the provider calls itself {found.issuer!r:.200}, not {issuer!r:.200}", hint="set STRATAL_OIDC_ISSUER to that")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            _check_place(f"the provider's {name}", getattr(found, name))
        with self._change:
            self._endpoints = (found, now_s + KEEP_S)
        return found

    def _key_set(self, where: Endpoints, *, is_again: bool) -> Mapping[str, object]:
        now_s = self._clock.monotonic_s()
        with self._change:
            if self._keys is not None:
                age_s = now_s - self._keys[1]
                if age_s < (AGAIN_S if is_again else KEEP_S):
                    return self._keys[0]
        found = self._fetch("GET", where.jwks_uri, dict[str, object])
        with self._change:
            self._keys = (found, now_s)
        return found

    def _fetch(
        self, method: str, url: str, type: type[T], *, body: Mapping[str, str] | None = None, auth: httpx.BasicAuth | None = None
    ) -> T:
        try:
            status, content = asyncio.run(asyncio.wait_for(_ask(method, url, body, auth), ANSWER_S))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            hint = advice(error, "try again in a moment").partition(";")[0]
            log.warning("provider not reached url=%s error=%s", url, str(error) or error.__class__.__name__)
            raise StoreDown(f"the identity provider is not reached: {error.__class__.__name__}", hint=hint) from error
        if method == "POST" and 400 <= status < 500:
            log.warning("provider refused a code url=%s status=%d error=%s", url, status, _error_of(content))
            raise Unauthenticated(f"the identity provider does not take this sign-in ({status})", hint="sign in again")
        try:
            if status != 200 or len(content) > MOST_BYTES:
                raise ValueError(status)
            return msgspec.json.decode(content, type=type)
        except (ValueError, UnicodeDecodeError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise StoreDown(
                f"the identity provider answers {status} at {urlsplit(url).path}, with nothing that can be read",
                hint="is STRATAL_OIDC_ISSUER right?",
            ) from error


def _distrusted(error: Exception) -> Unauthenticated:
    """Say which claim of an ID token is wrong, to who signs in and in the log; neither repeats what the token holds."""
    kind = type(error).__name__
    claim = str(getattr(error, "claim", "") or ("exp" if kind == "ExpiredTokenError" else ""))
    why = f"its {claim} is missing or wrong ({kind})" if claim else kind
    log.warning("ID token not trusted why=%s", why)
    remedy = _REMEDIES.get(claim, "looks at the server's log")
    return Unauthenticated(f"what the provider says cannot be trusted: {why}", hint=f"sign in again; if it stays so, an admin {remedy}")


async def _ask(method: str, url: str, body: Mapping[str, str] | None, auth: httpx.BasicAuth | None) -> tuple[int, bytes]:
    """Give the status of an answer, and its bytes as they come, no more than show that they are too many. It has no end in time."""
    headers = {"accept": "application/json", "accept-encoding": "identity"}  # what is small packed may be large
    verify = authorities() if url.startswith("https:") else False
    async with (
        httpx.AsyncClient(timeout=None, trust_env=False, verify=verify) as http,
        http.stream(method, url, data=body, auth=auth, headers=headers) as answer,
    ):
        content = bytearray()
        async for piece in answer.aiter_raw():
            content += piece
            if len(content) > MOST_BYTES:
                break
        return answer.status_code, bytes(content)


def _error_of(content: bytes) -> str:
    """Give the word by which OAuth says what is wrong, as `invalid_client`; '' if there is none."""
    try:
        return msgspec.json.decode(content, type=Refusal).error[:100]
    except (ValueError, RecursionError):  # ValueErrors of msgspec, too
        return ""


def _random() -> str:
    return secrets.token_urlsafe(48)


def _check_place(what: str, url: str) -> None:
    """Refuse what others could listen to: no HTTPS, but for loopback. Raises Misuse."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise Misuse(f"{what} {url!r:.200} is no address") from None
    if parts.scheme == "https" and host:
        return
    if parts.scheme != "http" or not is_loopback(host):
        raise Misuse(f"{what} {url!r:.200} is not reached by HTTPS", hint="a provider without it is taken on loopback only")
