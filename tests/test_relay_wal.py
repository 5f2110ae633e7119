"""The log's files: what was written is read back, and a torn end costs only itself."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from breeze_lab.errors import FeedError
from breeze_lab.relay import wal

records = st.builds(
    wal.Record,
    st.sampled_from([wal.STOCK, wal.CANDLE, wal.ORDER, wal.NOTE]),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**63),
    st.binary(max_size=300),
)


def write(path, found):
    path.write_bytes(wal.MAGIC + b"".join(map(wal.encode, found)))
    return path


@settings(deadline=None)  # reading files takes what the disk takes
@given(found=st.lists(records, max_size=6), data=st.data())
def test_any_cut_or_flipped_byte_costs_only_what_follows(tmp_path_factory, found, data):
    """Of a damaged file the records before the damage are read, and no wrong one."""
    path = write(tmp_path_factory.mktemp("wal") / "log", found)
    assert list(wal.read(path)) == found
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    read = list(wal.read(path))
    assert read == found[: len(read)]
    ends = [len(wal.MAGIC)]
    for record in found:
        ends.append(ends[-1] + len(wal.encode(record)))
    assert len(read) == sum(end <= cut for end in ends[1:])
    if found:
        at = data.draw(st.integers(len(wal.MAGIC), len(whole) - 1))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        read = list(wal.read(path))
        assert read == found[: len(read)]
        assert len(read) == sum(end <= at for end in ends[1:])


def test_another_file_is_refused(tmp_path):
    """A file of somebody else, or of a later version, is no empty log."""
    (tmp_path / "log").write_bytes(b"PAR1" + bytes(40))
    with pytest.raises(FeedError, match="no tick log of this version"):
        list(wal.read(tmp_path / "log"))
