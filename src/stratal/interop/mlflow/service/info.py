"""What a client may know of the server before it asks for more."""

from stratal.interop.mlflow.service.calls import Answer, Call, Request, reads

# The release whose protocol this is: clients read it as the server's version.
VERSION = "3.17.2"


class AboutServer(Request, frozen=True, kw_only=True):
    """Nothing to ask."""


class ServerInfo(Answer, frozen=True, kw_only=True):
    """What there is."""

    store_type: str
    workspaces_enabled: bool
    multipart_uploads_enabled: bool
    multipart_downloads_enabled: bool


@reads
def about(_call: Call, _request: AboutServer) -> ServerInfo:
    """Say what there is. Files can be sent and read in parts, but clients are not told to: they repeat a file that is sent whole, and
    give up a part that was lost."""
    return ServerInfo(store_type="SqlStore", workspaces_enabled=False, multipart_uploads_enabled=False, multipart_downloads_enabled=False)
