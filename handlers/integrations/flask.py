"""Flask: `install(app)` gives each request its trace context and one access event.

    install(app)                          # options: `handlers.request.Policy`

Rules (those of every framework stand in `handlers/request/__init__.py`, those of WSGI in `wsgi.py`)
- `endpoint` is the rule's template (``/orders/<int:order>``), bound before the application's functions run.
- The `user_id` hook gets Flask's request; it is asked right before the view, when all `before_request`
  functions have run, and where it had no answer at the end, with Flask's context still there.
- An exception that Flask turns into a 500 is in the access event; Flask's own record of it is no second
  event. In debug and testing mode Flask raises it, and so do we: its debugger shows it.
"""

from __future__ import annotations

from typing import Any, Final, Unpack

try:
    import flask
except ImportError as error:
    from ._needs import missing

    raise missing("Flask", "flask", error) from error

from ..request.environ import EXCHANGE
from ..request.exchange import Exchange
from ..request.policy import Options
from ..request.told import tell_once
from .wsgi import TraceMiddleware

__all__ = ["install"]

_INSTALLED: Final = "logferry"


class _FlaskMiddleware(TraceMiddleware):
    _answers = False  # Flask has answered, or wants its debugger to see the exception
    _asks = False


def install(app: flask.Flask, **options: Unpack[Options]) -> None:
    """Give every request of `app` its trace context and its access event. A second time does nothing.

    Options as for `handlers.request.Policy`.
    """
    if _INSTALLED in app.extensions:
        return
    setattr(app, "wsgi_app", _FlaskMiddleware(app.wsgi_app, **options))  # noqa: B010 - mypy: a method
    dispatch = app.dispatch_request

    def dispatch_request(*args: Any, **kwargs: Any) -> Any:
        exchange = _exchange()
        if exchange is not None:
            exchange.request = flask.request
            exchange.ask_user()
        return dispatch(*args, **kwargs)

    def started(_app: flask.Flask, **_kwargs: object) -> None:
        exchange, rule = _exchange(), flask.request.url_rule
        if exchange is not None and rule is not None:
            exchange.found_endpoint(rule.rule)

    def failed(_app: flask.Flask, exception: BaseException, **_kwargs: object) -> None:
        exchange = _exchange()
        if exchange is not None:
            exchange.fail(exception)

    def done(_error: BaseException | None) -> None:
        exchange = _exchange()
        if exchange is not None:
            exchange.request = flask.request
            exchange.ask_user()
            exchange.note()
            exchange.request = None  # Flask's context ends here: the hook has had its last chance

    setattr(app, "dispatch_request", dispatch_request)  # noqa: B010 - mypy: a method
    flask.request_started.connect(started, app)
    flask.got_request_exception.connect(failed, app)
    app.teardown_request(done)
    tell_once(app.logger.name)
    app.extensions[_INSTALLED] = (started, failed)  # signals hold their receivers weakly


def _exchange() -> Exchange | None:
    found = flask.request.environ.get(EXCHANGE)
    return found if isinstance(found, Exchange) else None
