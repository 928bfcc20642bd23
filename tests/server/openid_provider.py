"""A small identity provider on loopback: it asks nobody for a password, and is strict about all else that OpenID Connect asks of it."""

import base64
import hashlib
import secrets
import time
from functools import cache
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode

import msgspec
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from stratal.server.asgi import Answer, Receive, Request, Scope, Send, json_answer, live, send_answer

CLIENT, SECRET = "stratal-team", "a secret & more"


class IdentityProvider:
    """Signs in whoever `person` says. What tests change: `claims` of the next ID token, the `key` it is signed with, what is refused."""

    def __init__(self) -> None:
        self.url = ""
        self.key: Any = rsa_key("provider", "one")
        self.published: list[Any] = [self.key]
        self.algorithm = "RS256"
        self.person: dict[str, object] = {"sub": "u1", "preferred_username": "rita", "name": "Rita R.", "groups": ["ml"]}
        self.claims: dict[str, object] = {}
        self.leaves_out: set[str] = set()
        self.signs = True
        self.redirects: set[str] = set()
        self.asked: list[str] = []
        self.issuer = ""
        self._codes: dict[str, dict[str, str]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await live(receive, send, lambda: None)
        request = Request(scope, receive)
        self.asked.append(request.path)
        return await send_answer(await self._answer(request), send)

    async def _answer(self, request: Request) -> Answer:
        match request.path:
            case "/.well-known/openid-configuration":
                places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
                return json_answer(200, {"issuer": self.issuer or self.url, **{name: f"{self.url}/{at}" for name, at in places.items()}})
            case "/keys":
                return json_answer(200, KeySet(self.published).as_dict(private=False))
            case "/authorize":
                return self._authorize(dict(parse_qsl(request.query)))
            case "/token" if request.method == "POST":
                body = await request.body(10_000, 5, 5)
                return self._token({name: values[0] for name, values in parse_qs(body.decode()).items()}, request)
        return Answer(status=404)

    def _authorize(self, asked: dict[str, str]) -> Answer:
        right = asked.get("client_id") == CLIENT and asked.get("response_type") == "code" and asked.get("redirect_uri") in self.redirects
        if not right or asked.get("code_challenge_method") != "S256" or "openid" not in asked.get("scope", "").split():
            return Answer(status=400)
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return Answer(status=303, headers=(("location", f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"),))

    def _token(self, said: dict[str, str], request: Request) -> Answer:
        asked = self._codes.pop(said.get("code", ""), None)
        client = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(said.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()
        if request.headers.get("authorization") != f"Basic {client}":
            return json_answer(401, {"error": "invalid_client"})
        if asked is None or asked["redirect_uri"] != said.get("redirect_uri") or asked["code_challenge"] != challenge:
            return json_answer(400, {"error": "invalid_grant"})
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"], **self.person, **self.claims}
        for name in self.leaves_out:
            claims.pop(name, None)
        head = {"alg": self.algorithm, **({"kid": self.key.kid} if self.key.kid else {})}
        token = jwt.encode(head, claims, self.key, algorithms=[self.algorithm]) if self.signs else _unsigned(claims)
        return json_answer(200, {"access_token": "unused", "token_type": "Bearer", "id_token": token})


@cache
def rsa_key(owner: str, kid: str) -> Any:
    """A key of somebody; each is made once, since that takes a while."""
    return RSAKey.generate_key(2048, parameters={"kid": kid})


def other_key(kid: str = "one") -> Any:
    """A key that the provider never published."""
    return rsa_key("somebody else", kid)


def elliptic_key(kid: str) -> Any:
    return ECKey.generate_key("P-256", parameters={"kid": kid})


def shared_key(text: str) -> Any:
    return OctKey.import_key(text)


def _unsigned(claims: dict[str, object]) -> str:
    """A token that nobody signed, as careless libraries take it."""
    parts = (msgspec.json.encode({"alg": "none"}), msgspec.json.encode(claims))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."
