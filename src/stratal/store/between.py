"""Between: answers of what stands in a server's place, a proxy before it or another program, and what helps.

They are no JSON of ours, and are told from it by that.
"""

from urllib.parse import urlsplit

from stratal.store.hypertext import httpx

# What a proxy says that does not reach the server. 504 is not among them: it did, and the server may be at work still.
UNREACHED = frozenset({502, 503})


def strange(url: str, answer: httpx.Response) -> tuple[str, str]:
    """Say what an answer to a call of a server means that no Stratal server gave, and what helps."""
    status = answer.status_code
    if answer.has_redirect_location:
        return (
            f"{url} leads elsewhere, to {_origin(answer)}",
            "if that is the server, write it in STRATAL_STORE; if it is a page to sign in, let the proxy pass on what programs ask",
        )
    if status in UNREACHED:
        return f"{url} answered {status}: a proxy before the server does not reach it", "see whether the server runs, and the proxy's log"
    if status == 504:
        return (
            f"{url} answered 504: a proxy before the server waits for it no longer",
            "let the proxy wait longer (nginx: proxy_read_timeout), or ask on the server's machine",
        )
    if status == 413:
        return (
            f"{url} answered 413: a proxy before the server takes no bodies of this size",
            "let it take large ones (nginx: client_max_body_size 0)",
        )
    return f"{url} answered {status}", "is it a Stratal server?"


def _origin(answer: httpx.Response) -> str:
    try:
        to = urlsplit(str(answer.request.url.join(answer.headers["location"])))
    except (httpx.InvalidURL, ValueError):
        return "what is no address"
    return f"{to.scheme}://{to.netloc.rpartition('@')[2]}"
