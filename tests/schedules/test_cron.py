"""Reading cron expressions: what they mean, and each refusal with its reason."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from cronsim import CronSim
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from schedules.cron import MACROS, MAX_LENGTH, BadCron, read
from tests.schedules.debian_cron import Job, jobs

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("text", "minutes", "hours"),
    [
        ("0 9 * * *", (0,), (9,)),
        ("*/20 8-18/5 * * *", (0, 20, 40), (8, 13, 18)),
        ("05,5,4-6 007,23 * * *", (4, 5, 6), (7, 23)),
        ("7-7/3 9-9 * * *", (7,), (9,)),
        ("0-59/60 */24 * * *", (0,), (0,)),
        ("\t0  9\t* * * ", (0,), (9,)),
    ],
)
def test_minutes_and_hours(text, minutes, hours):
    assert (read(text).minutes, read(text).hours) == (minutes, hours)
    assert read(text).text == text


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0 0 * * 7", [6, 13, 20, 27]),
        ("0 0 * * 0", [6, 13, 20, 27]),
        ("0 0 * * sun", [6, 13, 20, 27]),
        ("0 0 * * Fri-7", [4, 5, 6, 11, 12, 13, 18, 19, 20, 25, 26, 27]),
        ("0 0 * * MON-wed/2", [2, 7, 9, 14, 16, 21, 23, 28, 30]),
        ("0 0 * * 0-7", list(range(1, 31))),
        ("0 0 * * */7", [6, 13, 20, 27]),
        ("0 0 * * */3", [2, 5, 6, 9, 12, 13, 16, 19, 20, 23, 26, 27, 30]),
        ("0 0 13 * 5", [4, 11, 13, 18, 25]),
        ("0 0 */2 * 5", [11, 25]),
        ("0 0 13 * */5", [13]),
        ("0 0 13 apr,dec *", [13]),
        ("0 0 13 JAN-Apr/3 *", [13]),
        ("0 0 13 feb-apr/3 *", []),
        ("0 0 31 * *", []),
    ],
)
def test_the_days_of_april_2025(text, days):
    """1 April 2025 was a Tuesday."""
    found, at = [], datetime(2025, 3, 31, 23, 59)
    while (at := read(text).next_local(at)) < datetime(2025, 5, 1):
        found.append(at.day)
    assert found == days
    assert read(text).count_local(datetime(2025, 3, 31, 23, 59), datetime(2025, 4, 30, 23, 59)) == len(days)


@pytest.mark.parametrize(
    ("macro", "fields"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        (" @Daily ", "0 0 * * *"),
    ],
)
def test_a_macro_means_its_fields(macro, fields):
    at, known = datetime(2025, 3, 29, 10, 1), read(fields)
    for _ in range(3):
        assert read(macro).next_local(at) == (at := known.next_local(at))
    assert read(macro).text == macro
    assert read(macro).follows_clock == known.follows_clock
    assert macro.strip().lower() in MACROS


@pytest.mark.parametrize(
    ("text", "follows"),
    [
        ("* 1 * * *", True),
        ("*/5 1 * * *", True),
        ("*,3 1 * * *", True),
        ("3,* 1 * * *", False),
        ("1 * * * *", True),
        ("1 */2 * * *", True),
        ("0-59 0-23 * * *", False),
        ("1 1 * * *", False),
        ("@hourly", True),
        ("@daily", False),
    ],
)
def test_what_follows_the_clock(text, follows):
    assert read(text).follows_clock == follows


WHOLE_REFUSALS = [
    ("", "is empty"),
    (" \t ", "is empty"),
    ("* * * *", r"has 4 field\(s\) and needs five: minute hour day-of-month month day-of-week"),
    ("*", r"has 1 field\(s\)"),
    ("0 0 9 * * *", "has 6 .*no seconds and no years"),
    ("0 9 * * * 2025", "has 6 .*no seconds"),
    ("0 9 * * MON echo hello", "has 7 "),
    ("CRON_TZ=Europe/Paris 0 9 * * *", "time zone in the field timezone"),
    ("TZ=UTC 0 9 * * *", "time zone in the field timezone"),
    ("@reboot", "no boot.*Allowed: @hourly, @daily"),
    ("@REBOOT", "no boot"),
    ("@every 5m", "not known.*@hourly"),
    ("@", "not known"),
    ("@fortnightly", "not known"),
    ("@daily *", "not known"),
    ("@daily * * * *", "not known"),
    ("0 9 * *\n*", r"has a '\\n' in it"),
    ("0 9 * * *\n", r"has a '\\n' in it"),
    ("0 9 * * *\x00", r"has a '\\x00' in it"),
    ("0\x1c9\x1c*\x1c*\x1c*", r"'\\x1c'"),
    ("0\u00a09 * * *", r"'\\xa0'"),
    ("０ 9 * * *", "'０' in it"),
    ("٠ 9 * * *", "'٠' in it"),
    ("\ud800 9 * * *", r"'\\ud800'"),
    ("0,1," * 64 + "0 9 * * *", "longer than 255"),
    ("*" * 10_000_000, "longer than 255"),
    ("0 0 30 2 *", "no day 30 in month 2"),
    ("0 0 30,31 FEB *", "no day 30,31 in month FEB"),
    ("0 0 31 2,4,6,9,11 *", "never comes"),
    ("0 0 31 4 */2", "never comes"),
    ("0 0 30 2 *,MON", "never comes"),
]
FIELD_REFUSALS = [
    ("60 * * * *", "minute", "not from 0 to 59"),
    ("-1 * * * *", "minute", "cannot be read at '-1'"),
    ("1.5 * * * *", "minute", "cannot be read"),
    ("0-60 * * * *", "minute", "not from 0 to 59"),
    ("99999999999999999999 * * * *", "minute", "not from 0 to 59"),
    ("30-10 * * * *", "minute", "runs backwards: write 30-59,0-10"),
    ("5/15 * * * *", "minute", "step after a single value.*write 5-59/15 or 5"),
    ("*/0 * * * *", "minute", "step that is not from 1 to 60"),
    ("*/61 * * * *", "minute", "step that is not from 1 to 60"),
    ("*/90 * * * *", "minute", "step that is not from 1 to 60"),
    ("*/ * * * *", "minute", "cannot be read"),
    ("*/x * * * *", "minute", "cannot be read"),
    ("*/-5 * * * *", "minute", "cannot be read"),
    ("*/2/3 * * * *", "minute", "cannot be read"),
    ("/5 * * * *", "minute", "cannot be read"),
    ("** * * * *", "minute", "cannot be read"),
    ("*-5 * * * *", "minute", "cannot be read"),
    ("1-2-3 * * * *", "minute", "cannot be read"),
    ("1- * * * *", "minute", "cannot be read"),
    ("1,,2 * * * *", "minute", "empty place in its list"),
    (",1 * * * *", "minute", "empty place"),
    ("1, * * * *", "minute", "empty place"),
    ("H * * * *", "minute", "cannot be read at 'H'"),
    ("0~30 * * * *", "minute", "cannot be read"),
    ("@5 * * * *", "", "not known"),
    ("? * * * *", "minute", r"has a \?, which is not cron's: write \*"),
    ("0 24 * * *", "hour", "not from 0 to 23"),
    ("0 22-2 * * *", "hour", "backwards: write 22-23,0-2"),
    ("0 */25 * * *", "hour", "not from 1 to 24"),
    ("0 9am * * *", "hour", "cannot be read at '9am'"),
    ("0 0 0 * *", "day-of-month", "not from 1 to 31"),
    ("0 0 32 * *", "day-of-month", "not from 1 to 31"),
    ("0 0 L * *", "day-of-month", "L, W or #"),
    ("0 0 l * *", "day-of-month", "L, W or #"),
    ("0 0 L-3 * *", "day-of-month", "L, W or #"),
    ("0 0 LW * *", "day-of-month", "L, W or #"),
    ("0 0 15W * *", "day-of-month", "L, W or #"),
    ("0 0 1,L * *", "day-of-month", "L, W or #"),
    ("0 0 ? * MON", "day-of-month", r"\?, which is not cron's"),
    ("0 0 1 0 *", "month", "not from 1 to 12"),
    ("0 0 1 13 *", "month", "not from 1 to 12"),
    ("0 0 1 JANUARY *", "month", "long name: write JAN"),
    ("0 0 1 MON *", "month", "cannot be read at 'MON'"),
    ("0 0 1 NOV-FEB *", "month", "backwards: write 11-12,1-2"),
    ("0 0 1 JAN/3 *", "month", "write 1-12/3 or 1"),
    ("0 0 * * 8", "day-of-week", "not from 0 to 7"),
    ("0 0 * * FRI-SUN", "day-of-week", "write 5-7, where 7 is Sunday"),
    ("0 0 * * SAT-MON", "day-of-week", "write 6-6,0-1"),
    ("0 0 * * 7-1", "day-of-week", "write 0-1"),
    ("0 0 * * Monday", "day-of-week", "long name: write MON"),
    ("0 0 * * JAN", "day-of-week", "cannot be read"),
    ("0 0 * * 5L", "day-of-week", "L, W or #"),
    ("0 0 * * FRIL", "day-of-week", "L, W or #"),
    ("0 0 * * L", "day-of-week", "L, W or #"),
    ("0 0 * * MON#2", "day-of-week", "L, W or #"),
    ("0 0 * * 1#6", "day-of-week", "L, W or #"),
    ("0 0 * * */8", "day-of-week", "not from 1 to 7"),
    ("0 0 * * ?", "day-of-week", r"\?, which"),
]


@pytest.mark.parametrize(("text", "reason"), WHOLE_REFUSALS, ids=lambda value: str(value)[:30].encode("unicode_escape"))
def test_what_is_no_expression_is_refused_with_a_reason(text, reason):
    with pytest.raises(BadCron, match=reason) as refused:
        read(text)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(("text", "field", "reason"), FIELD_REFUSALS)
def test_a_field_is_refused_by_its_name_with_what_it_may_say(text, field, reason):
    with pytest.raises(BadCron, match=reason) as refused:
        read(text)
    assert refused.value.field == field
    assert refused.value.allowed in str(refused.value)
    assert f"The {field} field" in str(refused.value) or not field


@pytest.mark.parametrize("text", ["30-59,0-10 * * * *", "5-59/15 * * * *", "0 0 1 11-12,1-2 *", "0 0 * * 5-7"])
def test_what_a_refusal_says_to_write_is_taken(text):
    assert read(text)


@settings(max_examples=30)
@given(jobs())
@example(Job("0 0 30 2 1", *map(frozenset, ({0}, {0}, {30}, {2}, {1}))))
@example(Job("0 0 30 2 */7", *map(frozenset, ({0}, {0}, {30}, {2}, {0}))))
def test_an_expression_is_read_unless_its_date_never_comes(job):
    if not job.can_come:
        with pytest.raises(BadCron, match="never comes"):
            read(job.text)
        return
    cron = read(job.text)
    assert (cron.minutes, cron.hours) == (tuple(sorted(job.minutes)), tuple(sorted(job.hours)))
    assert cron.follows_clock == job.has_wildcards
    assert cron.explanation


@settings(max_examples=30)
@given(jobs().filter(lambda job: job.can_come), st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)))
def test_local_times_are_cronsims_where_no_clock_is_changed(job, at):
    cron, theirs = read(job.text), CronSim(job.text, at.replace(second=0, microsecond=0))
    # It goes on to the end of the field with the step of a range that has one value.
    assume((theirs.minutes, theirs.hours, theirs.months) == (job.minutes, job.hours, job.months))
    assume((theirs.days, {day % 7 for day in theirs.weekdays}) == (job.days_of_month, job.days_of_week))
    start = at
    for _ in range(3):
        at = cron.next_local(at)
        assert at == next(theirs)
    assert cron.count_local(start, at) == 3
    assert cron.count_local(start, at - MINUTE) == 2
    assert cron.count_local(start, start) == 0
    assert cron.count_local(at, start) == 0


@given(st.text(alphabet=st.sampled_from("0123456789*/-,LW#?@ \tMONJAfri"), max_size=24) | st.text(max_size=24))
def test_no_text_is_a_defect(text):
    try:
        cron = read(text)
    except BadCron as refusal:
        assert str(refusal)  # noqa: PT017  either outcome is fine
    else:
        assert cron.next_local(datetime(2025, 1, 1)).second == 0


def test_a_text_at_the_limit_is_read():
    text = "0 0 1 1 *"
    assert read(text + " " * (MAX_LENGTH - len(text)))


def test_it_is_explained():
    assert read("0 9 * * MON-FRI").explanation == "At 09:00 on Monday through Friday"
    assert read("@hourly").explanation == "At the start of every hour"
