"""The process ``embedder``: serve the embedder.

Until a signal or the supervisor's end stops it.
"""

from tenantry.host import environment


def main() -> None:
    environment.add_embedder()
    from tenantry.embedder import app  # noqa: PLC0415 (it imports what was just added)

    app.main()
