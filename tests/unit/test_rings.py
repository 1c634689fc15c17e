"""What is told at the end of all tests: how many ran, what was skipped, and whether all is well."""

from tests.rings import outcome, rings, summary

REPORT = """<testsuites><testsuite tests="4" failures="1" errors="0" skipped="2" time="90.4">
<testcase name="a"/><testcase name="b"><failure message="no"/></testcase>
<testcase name="c"><skipped message="there is no Node here"/></testcase>
<testcase name="d"><skipped message="there is no Node here"/></testcase>
</testsuite></testsuites>"""


def test_what_measures_and_what_does_not_are_all_there_is() -> None:
    given = rings(2)

    assert "tests/unit" in given["unit"]
    beside, alone = given["side by side"], given["alone"]
    assert (beside[beside.index("-m") + 1], alone[alone.index("-m") + 1]) == ("not alone", "alone")
    assert beside[-3:] == alone[-3:] == ["tests/integration", "tests/e2e", "tests/faults"]


def test_the_end_tells_what_ran_and_why_some_did_not() -> None:
    outcomes = [outcome("unit", 1, REPORT), outcome("alone", 0, REPORT)]

    assert list(summary(outcomes)) == [
        "unit: 4 tests, 1 failures, 2 skipped in 90 s, pytest ended with 1",
        "alone: 4 tests, 1 failures, 2 skipped in 90 s",
        "8 tests in 3.0 minutes",
        "skipped 4: there is no Node here",
    ]


def test_a_ring_that_could_not_say_anything_is_told() -> None:
    assert str(outcome("unit", 3, "<testsuites/>")) == "unit: no tests in 0 s, pytest ended with 3"
