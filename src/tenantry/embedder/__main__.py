"""``python -m tenantry.embedder``: serve the embedder.

Until a signal or the supervisor's end stops it.
"""

from tenantry.host import environment

environment.add_embedder()

from tenantry.embedder.app import main  # noqa: E402 (it imports what was just added)

if __name__ == "__main__":
    main()
