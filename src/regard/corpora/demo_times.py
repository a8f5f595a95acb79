"""The demo's dates, times and durations."""

import datetime
from collections.abc import Iterator
from itertools import islice
from typing import Literal

from babel import dates, units

from regard.corpora.demo_values import LOCALES, Form, UnitLength, Value, draws, form, pick, shuffled
from regard.corpora.splits import Split, split_of

TimeUnit = Literal["year", "month", "week", "day", "hour", "minute", "second"]
DateLength = Literal["full", "long"]
ClockLength = Literal["short", "medium"]

YEARS = range(1900, 2100)
_UNIT_SEPARATOR = {"en": ", ", "de": ", ", "zh": ""}  # CLDR's unit lists of two; babel lacks the Chinese one
_UNIT_LENGTHS: dict[str, tuple[UnitLength, UnitLength]] = {
    "en": ("long", "short"),
    "de": ("long", "short"),
    "zh": ("short", "short"),  # CLDR has one for both
}

_DURATIONS = (  # a greater unit with the highest count drawn, a smaller one
    ("year", 30, "month", 11),
    ("week", 30, "day", 6),
    ("day", 60, "hour", 23),
    ("hour", 48, "minute", 59),
    ("minute", 59, "second", 59),
)
_RELATIVE_SECONDS: dict[TimeUnit, int] = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "week": 7 * 86_400,
    "month": 30 * 86_400,
    "year": 365 * 86_400,
}


def time_values() -> Iterator[Value]:
    """All values that a clock or a calendar shows."""
    yield from _dates()
    yield from _parts_of_dates()
    yield from _times()
    yield from _moments()
    yield from _durations()
    yield from _relative()


def _all_dates() -> list[datetime.date]:
    first, last = datetime.date(YEARS[0], 1, 1), datetime.date(YEARS[-1], 12, 31)
    return [first + datetime.timedelta(days=day) for day in range((last - first).days + 1)]


def _skeleton(skeleton: str, day: datetime.date) -> Form:
    moment = datetime.datetime(day.year, day.month, day.day)
    return form(lambda language: dates.format_skeleton(skeleton, moment, locale=LOCALES[language]))


def _named_format(name: DateLength, day: datetime.date) -> Form:
    return form(lambda language: dates.format_date(day, name, locale=LOCALES[language]))


def _dates() -> Iterator[Value]:
    for day in shuffled("date", _all_dates())[:4000]:
        forms = (
            _named_format("long", day),
            _named_format("full", day),
            _skeleton("yMMMd", day),
            _skeleton("yMMMEd", day),
            _skeleton("yMd", day),
        )
        yield Value("date", f"date:{day}", forms)


def _parts_of_dates() -> Iterator[Value]:
    leap_year = [datetime.date(2000, 1, 1) + datetime.timedelta(days=day) for day in range(366)]
    for day in leap_year:
        forms = (_skeleton("MMMMd", day), _skeleton("MMMd", day))
        yield Value("month and day", f"month-day:{day:%m-%d}", forms)
    months = [datetime.date(year, month, 1) for year in YEARS for month in range(1, 13)]
    for day in shuffled("month", months)[:900]:
        forms = (_skeleton("yMMMM", day), _skeleton("yMMM", day))
        yield Value("month and year", f"month:{day:%Y-%m}", forms)
    quarters = [datetime.date(year, month, 1) for year in YEARS for month in (1, 4, 7, 10)]
    for day in shuffled("quarter", quarters)[:400]:
        yield Value("quarter", f"quarter:{day:%Y-%m}", (_skeleton("yQQQQ", day),))


def _clock(time: datetime.time, length: ClockLength) -> Form:
    return form(lambda language: dates.format_time(time, length, locale=LOCALES[language]))


def _half_days(time: datetime.time, length: ClockLength) -> Form:
    """As `_clock`, but with the Chinese twelve-hour clock, which is so read and never so written."""
    skeleton = {"short": "hm", "medium": "hms"}[length]
    return {
        **_clock(time, length),
        **form(lambda zh: dates.format_skeleton(skeleton, time, locale=LOCALES[zh]), ["zh"]),
    }


def _times() -> Iterator[Value]:
    minutes = [datetime.time(minute // 60, minute % 60) for minute in range(1440)]
    for time in minutes:
        yield Value("time", f"time:{time}", (_clock(time, "short"), _half_days(time, "short")))
    seconds = [time.replace(second=second) for time in minutes for second in range(1, 60)]
    for time in shuffled("second", seconds)[:1000]:
        yield Value("time", f"time:{time}", (_clock(time, "medium"), _half_days(time, "medium")))


def _moments() -> Iterator[Value]:
    """A date with a time of its own split, so that neither is in training and in test."""
    times: dict[Split, list[datetime.time]] = {"train": [], "validation": [], "test": []}
    for minute in range(1440):
        time = datetime.time(minute // 60, minute % 60)
        times[demo_split(f"time:{time}")].append(time)
    for day, number in zip(shuffled("moment", _all_dates())[:2500], draws("moment"), strict=False):
        clock = _clock(pick(number, times[demo_split(f"date:{day}")]), "short")
        written = [_named_format("long", day), _named_format("full", day), _skeleton("yMMMd", day)]
        yield Value("date and time", f"date:{day}", tuple(_joined(date, clock) for date in written))


def _joined(date: Form, clock: Form) -> Form:
    return form(lambda language: LOCALES[language].datetime_formats["long"].format(clock[language], date[language]))


def _durations() -> Iterator[Value]:
    seen = set()
    for number in islice(draws("duration"), 3000):
        greater, most, smaller, least = pick(number, _DURATIONS)
        counts = (1 + number // 8 % most, 1 + number // 1024 % least)
        key = f"duration:{counts[0]} {greater} {counts[1]} {smaller}"
        if key not in seen:
            seen.add(key)
            yield Value("duration", key, tuple(_duration(counts, (greater, smaller), length) for length in (0, 1)))


def _duration(counts: tuple[int, int], names: tuple[str, str], length: int) -> Form:
    def write(language: str) -> str:
        used = _UNIT_LENGTHS[language][length]
        counted = zip(counts, names, strict=True)
        parts = [
            units.format_unit(count, f"duration-{name}", used, locale=LOCALES[language]) for count, name in counted
        ]
        return _UNIT_SEPARATOR[language].join(parts)

    return form(write)


def _relative() -> Iterator[Value]:
    pool = [(count, unit, sign) for count in range(1, 100) for unit in _RELATIVE_SECONDS for sign in (1, -1)]
    for count, unit, sign in shuffled("relative", pool)[:900]:
        delta = datetime.timedelta(seconds=sign * count * _RELATIVE_SECONDS[unit])
        yield Value("relative time", f"relative:{sign * count} {unit}", (_from_now(delta, unit),))


def _from_now(delta: datetime.timedelta, unit: TimeUnit) -> Form:
    def write(language: str) -> str:
        # a threshold that nothing reaches: babel then counts in the unit asked for
        return dates.format_timedelta(delta, unit, threshold=1e9, add_direction=True, locale=LOCALES[language])

    return form(write)


def demo_split(key: str) -> Split:
    """The demo's split: 50 of a thousand values are test, 50 validation."""
    return split_of(key, test_below=50, validation_below=100)
