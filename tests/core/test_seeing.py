"""What is made of workers' figures: one text of several, a histogram's buckets, the last quarter of an hour."""

import pytest

from live.core.buckets import Buckets
from live.core.exposition import labelled, merged
from live.core.recent import Recent

ONE = '# HELP a What a is.\n# TYPE a gauge\na 1.0\n# HELP b What b is.\n# TYPE b counter\nb_total{x="y z"} 2.0\n'


def test_every_sample_says_whose_it_is() -> None:
    assert labelled(ONE, 3).splitlines() == [
        "# HELP a What a is.",
        "# TYPE a gauge",
        'a{worker="3"} 1.0',
        "# HELP b What b is.",
        "# TYPE b counter",
        'b_total{worker="3",x="y z"} 2.0',
    ]
    assert labelled('worker_info{worker="3"} 1.0', 3) == 'worker_info{worker="3"} 1.0', "it says so already"
    assert labelled('a 1.0 # {x="y"} 2', 0) == 'a{worker="0"} 1.0 # {x="y"} 2'


def test_each_family_is_told_once() -> None:
    other = "# HELP c What c is.\n# TYPE c gauge\nc 5.0\n# HELP a What a is.\n# TYPE a gauge\na 4.0\n"
    text = merged({0: labelled(ONE, 0), 1: None, 2: labelled(other, 2)})
    assert text.splitlines() == [
        "# HELP showcart_worker_up Whether the worker answered this scrape within a second.",
        "# TYPE showcart_worker_up gauge",
        'showcart_worker_up{worker="0"} 1',
        'showcart_worker_up{worker="1"} 0',
        'showcart_worker_up{worker="2"} 1',
        "# HELP a What a is.",
        "# TYPE a gauge",
        'a{worker="0"} 1.0',
        'a{worker="2"} 4.0',
        "# HELP b What b is.",
        "# TYPE b counter",
        'b_total{worker="0",x="y z"} 2.0',
        "# HELP c What c is.",
        "# TYPE c gauge",
        'c{worker="2"} 5.0',
    ]
    assert text.endswith("\n")


def test_buckets_count_up_to_their_bounds() -> None:
    buckets = Buckets((1, 2))
    for value in (1, 1.5, 2, 3):
        buckets.observe(value)
    assert buckets.cumulative() == [("1", 1), ("2", 3), ("+Inf", 4)]
    assert buckets.sum == 7.5


def test_what_was_is_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.core.recent.RECENT_ROWS", 2)
    monkeypatch.setattr("live.core.recent.RECENT_SERIES_MAX", 2)
    recent = Recent()
    recent.take(1.0, [("a", 1.0)])
    recent.take(2.0, [("a", 2.0), ("b", 5.0)])
    recent.take(3.0, [("b", 6.0), ("c", 7.0)])
    assert recent.since(0.0) == {"series": ["a", "b"], "rows": [[2.0, 2.0, 5.0], [3.0, None, 6.0]]}
    assert recent.since(2.0)["rows"] == [[3.0, None, 6.0]]
    assert recent.left_out == 1
