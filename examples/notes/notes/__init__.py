"""Notes: everybody writes, those who pay keep as many as they like and may take them home."""

from collections import defaultdict

from flask import Flask, redirect, request

from tollhouse import Tollhouse
from tollhouse.flask import TollhouseFlask, requires

FREE_NOTES = 3
HOME = "https://notes.example.com"


def create_app(tollhouse: Tollhouse) -> Flask:
    """The app, and who it asks: in production a `Tollhouse()`, which the environment tells where that is."""
    app = Flask(__name__)
    TollhouseFlask(app, tollhouse, user_id=signed_in, upgrade_url="/upgrade")
    notes: dict[str, list[str]] = defaultdict(list)

    @app.post("/notes")
    def write() -> tuple[str, int]:
        allowed = max(FREE_NOTES, tollhouse.check(signed_in(), "notes").value)
        if len(notes[signed_in()]) >= allowed:
            return f"You have your {allowed} notes.", 402
        notes[signed_in()].append(request.get_data(as_text=True))
        return "kept", 201

    @app.get("/export")
    @requires("export")
    def export() -> str:
        return "\n".join(notes[signed_in()])

    @app.get("/upgrade")
    def upgrade():
        opened = tollhouse.open_checkout(
            signed_in(), "notes.plus.monthly", success_url=f"{HOME}/welcome", cancel_url=HOME
        )
        return redirect(opened.url or "/export")

    @app.get("/welcome")
    def welcome():
        tollhouse.sync_checkout(request.args["checkout_id"])
        return redirect("/export")

    return app


def signed_in() -> str:
    """An example's sign-in: a header that anybody may set. A real app has its own."""
    return request.headers.get("X-User", "")
