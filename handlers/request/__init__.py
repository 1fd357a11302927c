"""One request: what its headers say, what is bound meanwhile, and the access event at its end.

The frameworks' adapters (`handlers/integrations/asgi.py`, `wsgi.py`, `django.py`, `aiohttp.py`) are thin;
what they have in common is here, and knows no framework:

- `policy.py`: what a user can set, checked once.
- `exchange.py`: one request from its headers to its access event.
- `clients.py`: whose request it is, behind proxies.
- `body.py`: what is kept of a request's body, and its summary beside an exception.
- `told.py`: a server's second word on an exception that an event holds already.

Rules
- Ids come from the headers (`tracing.from_headers`) or are made; they are bound for the request, and nothing
  that was bound during it remains afterwards. A request begins with what was bound around it, unless that
  belongs to a trace: then it is another request's, left behind by a server that handles one from within the
  other (pipelining), and none of this one's.
- The answer carries ``X-Request-ID`` and ``traceparent``, also when it is a 500 for an unhandled exception.
- One access event through ``logferry.access`` when the last byte of the answer has been handed on: ERROR from
  500 on, WARNING from 400 on or when it was slow, else INFO. A client that went away before the answer is
  status 499: INFO, and no rate counts it as failed.
- An unhandled exception is one ERROR: the access event itself, with the traceback, status 500 and a summary
  of the request's body. One that is raised after the last byte (a background task) is an ERROR of its own.
- Excluded paths have ids, but no access event, unless an exception ends them.
- Nothing here fails a request: a hook that raises is logged once in a while, and ignored.
"""

from __future__ import annotations

from .exchange import Exchange
from .policy import Options, Policy

__all__ = ["Exchange", "Options", "Policy"]
