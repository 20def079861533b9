"""What a search finds that looks in several places: each row once, in one order."""

import uuid

import httpx

from harness import Installation


def found(api: httpx.Client, search: str) -> list[str]:
    """The friendly names of all that is found, page by page."""
    names: list[str] = []
    query = {"search": search, "limit": "2"}
    while True:
        page = api.get("/api/databases", params=query).json()
        names += [row["friendly_name"] for row in page["data"]]
        if "next_cursor" not in page:
            return names
        query["cursor"] = page["next_cursor"]


def test_names_and_owners_are_searched_and_each_is_found_once(
    platform: Installation, api: httpx.Client
) -> None:
    mark = uuid.uuid4().hex[:8]
    owner = f"{mark}@example.com"
    platform.create(friendlyName=f"First {mark}", ownerEmail=owner)
    platform.create(friendlyName="Second", name=f"second-{mark}")
    platform.create(friendlyName="Third", ownerEmail=owner)
    platform.create(friendlyName="Fourth")
    assert found(api, mark) == ["Third", "Second", f"First {mark}"]
