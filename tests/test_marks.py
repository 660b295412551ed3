"""The list of slow tests names tests, and each has a small one that `make test` runs."""

from pathlib import Path

import pytest
from marks import COLLECTED, LIST, Slow, is_named, slow_tests, without_a_test

NAMES = ["test_a", "test_b[vits-28x42]", "test_b[vitl-28x42]"]


def test_every_slow_test_exists_and_has_a_small_one(request):
    files = {Path(str(argument)).resolve() for argument in request.config.args}
    if files != {Path(__file__).resolve().parent} or request.config.option.keyword:
        pytest.skip("only part of the suite was asked for; the list is held against all of it")
    assert without_a_test(request.config.stash[COLLECTED], slow_tests(LIST.read_text())) == []


@pytest.mark.parametrize(
    ("pattern", "small", "fault"),
    [
        ("test_b[vitl-*]", "test_b[vits-*]", None),
        ("test_b[vitl-*]", "test_a", None),
        ("test_c", "test_a", "test_c: no test is called so"),
        ("test_b[vitg-*]", "test_a", "test_b[vitg-*]: no test is called so"),
        ("test_a", "test_c", "test_c: no test is called so, but it is to be the small one"),
        ("test_b", "test_b[vits-*]", "test_b[vits-*]: is slow itself"),
    ],
)
def test_a_wrong_line_is_noticed(pattern, small, fault):
    faults = without_a_test(NAMES, [Slow(pattern, small)])
    assert len(faults) == (fault is not None)
    assert fault is None or faults[0].startswith(fault)


def test_the_list_has_comments_and_arrows():
    text = "# why\n\ntest_a[x-*]  <- test_b\n"
    assert slow_tests(text) == [Slow("test_a[x-*]", "test_b")]
    assert is_named("test_a[x-[1]]", "test_a[x-[1]]") and not is_named("test_ab", "test_a")
