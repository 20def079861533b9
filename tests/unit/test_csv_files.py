"""What a file's first line names, and which line would end it too early. Pure."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.base.errors import InvalidInput
from tenantry.services.table_rows import csv_files


async def pieces(text: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(text), size):
        yield text[at : at + size]


async def whole(text: bytes, size: int) -> bytes:
    return b"".join([each async for each in csv_files.whole(pieces(text, size))])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    "text",
    [b"\\.", b"\\.\nid\n", b"id\n\\.\n2\n", b"id\r\n\\.\r\n2\r\n", b"id\r\\.\r2", b"id\n\\.",
     b'id\n"\n\\.\n"\n\\.\n', b'id\na"b"\n\\.\n2\n'],
)  # fmt: skip
async def test_a_line_that_ends_the_file_is_refused(text: bytes, size: int) -> None:
    with pytest.raises(InvalidInput, match="alone"):
        await whole(text, size)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    "text",
    [b"", b"id\n", b'id\n"\\."\n2\n', b'id\n"a\n\\.\nb"\n2\n', b"id\n\\.a\n\\.,b\na\\.\n\\\n",
     b'id\n"""\n\\.\n"""\n'],
)  # fmt: skip
async def test_other_files_pass_as_they_are(text: bytes, size: int) -> None:
    assert await whole(text, size) == text


SOME = st.lists(st.sampled_from([b'"', b"\n", b"\r", b"\\", b".", b"\\.", b"a", b","]), max_size=30)


def ends_early(text: bytes) -> bool:
    """Whether a line outside of quotes is a marker, character by character."""
    quoted, line = False, b""
    for each in [*(text[at : at + 1] for at in range(len(text))), b"\n"]:
        if each == b'"':
            quoted = not quoted
        if each in {b"\n", b"\r"}:
            if line == b"\\." and not quoted:
                return True
            line = b""
        else:
            line += each
    return False


@given(SOME.map(b"".join), st.integers(1, 7))
async def test_the_pieces_of_a_file_do_not_matter(text: bytes, size: int) -> None:
    if ends_early(text):
        with pytest.raises(InvalidInput):
            await whole(text, size)
    else:
        assert await whole(text, size) == text


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"id,v\n1,2\n", ["id", "v"]),
        (b"id,v\r\n1,2\r\n", ["id", "v"]),
        (b"id,v\r1,2\r", ["id", "v"]),
        (b"id", ["id"]),
        (b"\xef\xbb\xbfid,v\n", ["id", "v"]),
        (b'"a,""b",v\n', ['a,"b', "v"]),
        (b'"a\nb",v\n1,2\n', ["a\nb", "v"]),
        (b"\n1\n", [""]),
        (b",v\n", ["", "v"]),
    ],
)
async def test_the_first_line_names_columns(text: bytes, names: list[str], size: int) -> None:
    read = pieces(text, size)
    line, first = await csv_files.header(read)
    assert csv_files.names_of(line) == names
    assert first + b"".join([each async for each in read]) == text


@pytest.mark.parametrize(
    "text", [b'i"d,v\n1,2\n', b'id,v"\n1,2\n', b'id,"v\n1,2\n', b'"id"x,v\n', b'id, "v"\n',
             b"\xff,id\n", b'i"d",v\n', b'\xef\xbb\xbf"id,v\n1,2\n'],
)  # fmt: skip
async def test_a_first_line_that_would_be_read_otherwise_is_refused(text: bytes) -> None:
    line, _ = await csv_files.header(pieces(text, 100))
    with pytest.raises(InvalidInput, match="line 1"):
        csv_files.names_of(line)


async def test_a_first_line_has_an_end() -> None:
    with pytest.raises(InvalidInput, match="more than"):
        await csv_files.header(pieces(b'"' + b"a" * 70_000, 10_000))
