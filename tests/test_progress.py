"""Progress of long work: a bar in a terminal, elsewhere a line a minute, by an injected clock."""

import logging
import re
import threading

import pytest

from neuroalign import progress
from neuroalign.progress import EveryMinute, Share, in_lines, track


class Minutes:
    """A clock, and the ends of a number of minutes."""

    def __init__(self, number):
        self.now, self.left = 0.0, number

    def wait(self, seconds):
        self.now, self.left = self.now + seconds, self.left - 1
        return self.left < 0


def test_a_line_each_minute_until_the_end():
    minutes, said = Minutes(3), []
    share = Share("attack", 10, clock=lambda: minutes.now)

    def say():
        said.append(str(share))
        share.advance(2)

    EveryMinute(say, wait=minutes.wait).run()
    assert said == ["attack: 0 % after 60 s", "attack: 20 % after 2 min, about 8 min left",
                    "attack: 40 % after 3 min, about 4 min left"]  # fmt: skip


@pytest.mark.parametrize(
    ("total", "done", "text"),
    [
        (None, 0, "x: after 0 s"),
        (None, 3, "x: 3 done after 0 s"),
        (0, 0, "x: after 0 s"),
        (4, 4, "x: 100 % after 0 s, about 0 s left"),
        (4, 5, "x: 100 % after 0 s, about 0 s left"),
    ],
)
def test_shares_in_words(total, done, text):
    share = Share("x", total, clock=lambda: 0.0)
    share.advance(done)
    assert str(share) == text


def test_short_work_in_a_log_says_nothing_and_leaves_no_thread(capsys, monkeypatch):
    monkeypatch.setattr(progress, "draws_bars", lambda: False)
    before = threading.active_count()
    assert list(track(range(3), "counting", 3)) == [0, 1, 2]
    with pytest.raises(KeyError), in_lines("counting", 3):
        raise KeyError
    for each in track(range(3), "counting", 3):
        if each:
            break
    assert threading.active_count() == before
    assert capsys.readouterr() == ("", "")


def test_long_work_in_a_log(capsys, monkeypatch, minutes):
    monkeypatch.setattr(progress, "draws_bars", lambda: False)
    for _ in track(iter("ab"), "counting", 2):
        minutes[0]()  # a minute passes
    printed = capsys.readouterr()
    assert printed.out == ""
    first, second = printed.err.splitlines()
    assert first.startswith("counting: 0 % after")
    assert re.fullmatch(r"counting: 50 % after \S+ s, about \S+ s left", second)


def test_the_thread_says_it_and_ends_with_the_context():
    said, ends = threading.Event(), iter([False, True])
    with EveryMinute(said.set, wait=lambda _: next(ends)):
        assert said.wait(30)
    assert not any(thread.name == "progress" for thread in threading.enumerate())


def test_a_terminal_gets_a_bar(monkeypatch):
    calls = []
    monkeypatch.setattr(progress, "draws_bars", lambda: True)
    monkeypatch.setattr("rich.progress.track", lambda items, text, **settings: calls.append((text, settings)) or items)
    monkeypatch.setattr(progress, "EveryMinute", None)
    assert list(track([1, 2], "counting", 2)) == [1, 2]
    with in_lines("counting", 2) as share:
        share.advance()
    assert calls[0][0] == "counting" and calls[0][1]["total"] == 2
    assert list(track([1], "counting", 1, show=False)) == [1] and len(calls) == 1


def test_whoever_wants_no_information_gets_no_progress(monkeypatch):
    """As a command that was asked to be quiet."""
    calls = []
    monkeypatch.setattr(progress, "draws_bars", lambda: True)
    monkeypatch.setattr("rich.progress.track", lambda items, text, **settings: calls.append(text) or items)
    logging.disable(logging.INFO)
    try:
        assert list(track([1, 2], "counting", 2)) == [1, 2] and not calls
    finally:
        logging.disable(logging.NOTSET)
    assert list(track([1, 2], "counting", 2)) == [1, 2] and calls
