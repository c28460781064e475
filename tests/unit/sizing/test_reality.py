"""The figures that sizing is held to, over every row of ``benchmarks/data``."""

from pathlib import Path

from benchmarks.sizing import DATA, Tally, met, read_rows, tally


def _all() -> Tally:
    found = Tally()
    for file in sorted(Path(DATA).glob("sizing-*.jsonl")):
        tally(read_rows(file, None), found, show=False)
    return found


def test_weights_kv_and_verdicts_are_within_their_aims() -> None:
    found = _all()
    assert sum(len(errors) for errors in found.kv.values()) >= 35
    assert met(found)


def test_only_rows_that_say_so_themselves_are_left_out() -> None:
    assert [why for why in _all().left_out if "judge nothing" not in why] == []
