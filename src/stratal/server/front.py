"""The front: what people see who open the server's address in a browser. Pages of the store itself are not there yet."""

from html import escape

from stratal.core.errors import Forbidden
from stratal.server.asgi import Request
from stratal.server.credentials import session_secret
from stratal.server.guards import Guard, OpenGuard, identified
from stratal.store.wire import PREFIX as API
from stratal.version import __version__

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Stratal</title></head>
<body>
<h1>Stratal</h1>
<p>This is a Stratal server, release {release}. It serves runs, models and data of one store to programs.
Pages to look at them are not there yet.</p>
<p>{who}</p>
<ul>
<li>Python and the command line: <code>export STRATAL_STORE=</code> with the address of this page, then <code>stratal runs</code>.</li>
<li>MLflow's clients: the same address as their tracking URI.</li>
<li>Over HTTP: <a href="{openapi}">{openapi}</a> describes all operations (OpenAPI 3.1).</li>
<li>Is it well: <a href="/ready">/ready</a>.</li>
</ul>
</body>
</html>
"""


async def front(guard: Guard, request: Request, sign_in: str) -> bytes:
    """Give the page for whoever asks, signed in or not. sign_in: where a browser signs in, '' if a provider of identities is not known."""
    return _PAGE.format(release=escape(__version__), openapi=f"{API}/openapi.json", who=await _who(guard, request, sign_in)).encode()


async def _who(guard: Guard, request: Request, sign_in: str) -> str:
    if isinstance(guard, OpenGuard):
        return "It asks nobody who they are: it is reached from this machine only, and whoever reaches it may do everything."
    if "authorization" in request.headers or session_secret(request.headers):  # else to look at this page would count as a refusal
        try:
            sender = await identified(guard, request)
            return f'You are signed in as <strong>{escape(sender.name)}</strong>. What that lets you do: <a href="/auth/me">/auth/me</a>.'
        except Forbidden:
            pass  # it has ended, say
    by_browser = f'<a href="{escape(sign_in)}">Sign in</a>.' if sign_in else "In a browser nobody signs in here but by pages of your own."
    return (
        f"You are not signed in, and it answers only who is. {by_browser} Programs show a token "
        "(<code>STRATAL_TOKEN</code>), which an admin makes: <code>stratal token create</code>."
    )
