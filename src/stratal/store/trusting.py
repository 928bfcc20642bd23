"""Trusting: whose certificates a client takes, and what helps where it does not take one."""

import functools
import ssl

from stratal.core.settings import names_authorities
from stratal.store.hypertext import httpx


def authorities() -> ssl.SSLContext:
    """Trust who the machine trusts, and public authorities; where SSL_CERT_FILE or SSL_CERT_DIR is set, only those in it. 30 ms, once."""
    return _context(ssl.get_default_verify_paths(), is_named=names_authorities())


@functools.lru_cache(maxsize=4)
def _context(_paths: ssl.DefaultVerifyPaths, *, is_named: bool) -> ssl.SSLContext:
    if is_named:
        return ssl.create_default_context()
    context = httpx.create_ssl_context(trust_env=False)  # public ones: a slim container has none of its own
    context.load_default_certs()
    return context


def is_distrusted(error: Exception) -> bool:
    """Tell whether a server was not reached because nobody vouches for it."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def advice(error: Exception, otherwise: str) -> str:
    """Say what to do about a server that was not reached."""
    if "WRONG_VERSION_NUMBER" in str(error) or "RECORD_LAYER_FAILURE" in str(error):
        return "that port speaks no TLS: write http://, or put TLS before it; what was logged waits here"
    if isinstance(error, httpx.RemoteProtocolError) and "without sending" in str(error) and error.request.url.scheme == "http":
        return f"a port with TLS ends plain requests so: if it is one, write https://; else {otherwise}"
    if not is_distrusted(error):
        return otherwise
    if "mismatch" in str(error):
        return "write the server's name as its certificate has it; it is there, and what was logged waits here"
    return "if its certificate is your own or your company's, say whom you trust: SSL_CERT_FILE=authority.pem; what was logged waits here"
