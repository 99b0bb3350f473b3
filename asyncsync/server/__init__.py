"""A registry over an OCI layout (OCI distribution-spec 1.1), for a small site: `serving` it."""

from asyncsync.server.limits import Limits
from asyncsync.server.listening import Address
from asyncsync.server.serving import Answered, Served, serving

__all__ = ["Address", "Answered", "Limits", "Served", "serving"]
