"""A Flask application, for the tests of what Flask and Werkzeug log."""

from __future__ import annotations

from flask import Flask

from programs.served_app import fail

app = Flask("shop")


@app.get("/")
def home() -> str:
    return "hello"


@app.get("/fails")
def fails() -> str:
    fail()
    return ""


@app.get("/slow")
def slow() -> str:
    app.logger.warning("slow [req-1234-abcd]")
    return "ok"
