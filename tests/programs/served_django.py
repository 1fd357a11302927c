"""A Django site without settings of its own, and its `manage.py`, for the tests of what Django logs."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.conf import settings

from programs.served_app import fail

settings.configure(
    DEBUG=True,
    SECRET_KEY="of a test",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    TIME_ZONE=os.environ["TZ"],
)

from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402


def home(_request: Any) -> HttpResponse:
    return HttpResponse("hello")


def fails(_request: Any) -> HttpResponse:
    fail()
    return HttpResponse("")


urlpatterns = [path("", home), path("fails", fails)]

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
