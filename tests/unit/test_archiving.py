"""What a local repository has of the log, by the names of its files."""

from pathlib import Path

from tenantry.pg.archiving import archived

ONE, TWO, NEXT = "000000010000000A000000FF", "000000010000000B00000000", "000000020000000B00000001"
HISTORY = "00000002.history"


def put(folder: Path, name: str) -> None:
    place = folder if "." in name[:9] else folder / name[:16]
    place.mkdir(parents=True, exist_ok=True)
    (place / (name if "." in name else f"{name}-{'0' * 40}.zst")).touch()


def test_the_log_is_listed_in_order_and_from_a_file_on(tmp_path: Path) -> None:
    assert archived(tmp_path / "nowhere", after={}) == {}
    for name in (NEXT, TWO, ONE, HISTORY, f"{ONE}.00000028.backup", f"{TWO}.partial"):
        put(tmp_path / "15-2", name)
    put(tmp_path / "15-1", "0000000F0000000000000001")  # of another cluster, before this one
    found = archived(tmp_path, after={})
    assert list(found) == [ONE, TWO, HISTORY, NEXT]
    assert found[TWO].name == f"{TWO}-{'0' * 40}.zst"
    assert list(archived(tmp_path, after={"00000001": ONE})) == [TWO, HISTORY, NEXT]
    reached = {"history": HISTORY, "00000002": NEXT}  # before the rest of the older timeline
    assert list(archived(tmp_path, after=reached)) == [ONE, TWO]
    assert list(archived(tmp_path, after={**reached, "00000001": ONE})) == [TWO]
    assert archived(tmp_path, after={**reached, "00000001": TWO}) == {}
