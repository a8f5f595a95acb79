"""The demo's numbers, percentages, money, quantities and names of languages and places.

The key of an amount is its number alone: 12.5 kilometres in training means that no 12.5 of anything is in the test.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from itertools import islice

from babel import numbers, units

from regard.corpora.demo_values import LANGUAGES, LOCALES, Form, UnitLength, Value, draws, form, pick, shuffled

CURRENCIES = (
    "USD EUR GBP JPY CNY CHF CAD AUD NZD HKD TWD SGD INR KRW RUB TRY BRL MXN ZAR SEK NOK DKK ISK PLN CZK HUF RON BGN "
    "UAH ILS EGP MAD NGN KES THB VND IDR MYR PHP PKR BDT LKR SAR AED ARS CLP COP PEN UYU"
).split()

UNITS = (
    "length-kilometer length-meter length-centimeter length-millimeter length-mile length-foot length-inch length-yard "
    "length-nautical-mile length-light-year area-square-kilometer area-square-meter area-hectare area-acre "
    "area-square-mile volume-liter volume-milliliter volume-cubic-meter volume-gallon volume-tablespoon "
    "volume-teaspoon mass-kilogram mass-gram mass-milligram mass-tonne mass-pound mass-ounce temperature-celsius "
    "temperature-fahrenheit temperature-kelvin speed-kilometer-per-hour speed-meter-per-second speed-mile-per-hour "
    "speed-knot digital-kilobyte digital-megabyte digital-gigabyte digital-terabyte energy-kilojoule "
    "energy-kilocalorie energy-kilowatt-hour power-watt power-kilowatt power-megawatt power-horsepower electric-volt "
    "electric-ampere electric-ohm frequency-hertz frequency-kilohertz frequency-megahertz frequency-gigahertz "
    "pressure-hectopascal pressure-bar angle-degree duration-century duration-decade duration-year duration-month "
    "duration-week duration-day duration-hour duration-minute duration-second duration-millisecond graphics-pixel "
    "graphics-megapixel light-lux torque-newton-meter"
).split()
_NO_PLACES = {"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"}  # regions of CLDR that are groups or tests
_LOCALE_PATTERN = {"en": "{} ({})", "de": "{} ({})", "zh": "{}（{}）"}  # CLDR's localePattern, which babel lacks


def amount_values() -> Iterator[Value]:
    """All values that are counted, and the names."""
    yield from _numbers()
    yield from _compact_numbers()
    yield from _percentages()
    yield from _money()
    yield from _quantities()
    yield from _names()


def _key(number: Decimal) -> str:
    return f"number:{number.normalize():f}"


def _distinct(numbers_drawn: Iterator[Decimal], count: int) -> Iterator[Decimal]:
    return islice(dict.fromkeys(islice(numbers_drawn, 2 * count)), count)


def _decimals(label: str, digits: tuple[int, ...], places: tuple[int, ...]) -> Iterator[Decimal]:
    """Numbers of 1..max(digits) significant digits, of which some stand behind the point."""
    for number in draws(label):
        length, behind = pick(number, digits), pick(number // 16, places)
        first = 1 + number // 256 % 9
        rest = number // 4096 % 10 ** (length - 1)
        yield Decimal(first * 10 ** (length - 1) + rest).scaleb(-min(behind, length))


def _numbers() -> Iterator[Value]:
    for number in _distinct(_decimals("number", (2, 3, 4, 4, 5, 5, 6, 7), (0, 0, 1, 2)), 2000):
        yield Value("number", _key(number), (_number(number),))


def _number(number: Decimal) -> Form:
    return form(lambda language: numbers.format_decimal(number, locale=LOCALES[language], decimal_quantization=False))


def _compact_numbers() -> Iterator[Value]:
    mantissas = [Decimal(digits).scaleb(-places) for digits in range(1, 1000) for places in range(3)]
    pool = {mantissa.scaleb(exponent).normalize() for mantissa in mantissas for exponent in (6, 9, 12)}
    kept = sorted(number for number in pool if 10**6 <= number < 10**15)
    for number in shuffled("compact", kept)[:1800]:
        yield Value("compact number", _key(number), (_compact(number, "long"), _compact(number, "short")))


def _compact(number: Decimal, length: UnitLength) -> Form:
    """Chinese has but a short form; the same holds for its units."""

    def write(language: str) -> str:
        used = "short" if language == "zh" else length
        return numbers.format_compact_decimal(
            int(number), format_type=used, locale=LOCALES[language], fraction_digits=3
        )

    return form(write)


def _percentages() -> Iterator[Value]:
    for number in _distinct(_decimals("percentage", (1, 2, 2, 3, 3), (0, 1, 2)), 700):
        yield Value("percentage", _key(number), (_percentage(number), _quantity(number, "concentr-percent", "long")))


def _percentage(number: Decimal) -> Form:
    return form(
        lambda language: numbers.format_percent(number / 100, locale=LOCALES[language], decimal_quantization=False)
    )


def _money() -> Iterator[Value]:
    amounts = _distinct(_decimals("money", (2, 3, 4, 5, 6), (0, 2, 2)), 3000)
    for amount, number in zip(amounts, draws("currency"), strict=False):
        whole = amount == amount.to_integral_value()
        choices = [code for code in CURRENCIES if whole or numbers.get_currency_precision(code) == 2]
        currency = pick(number, choices)
        forms = (_price(amount, currency, "symbol"), _price(amount, currency, "name"), _price(amount, currency, "code"))
        yield Value("money", _key(amount), forms)


def _price(amount: Decimal, currency: str, style: str) -> Form:
    def write(language: str) -> str:
        if style == "name":
            return numbers.format_currency(amount, currency, locale=LOCALES[language], format_type="name")
        pattern = "#,##0.00 ¤¤" if style == "code" else None
        return numbers.format_currency(amount, currency, pattern, locale=LOCALES[language])

    return form(write)


def _quantities() -> Iterator[Value]:
    drawn = _distinct(_decimals("quantity", (1, 2, 2, 3, 3, 3, 4), (0, 0, 1, 1, 2)), 1500)
    for number, start in zip([Decimal(1), *drawn], draws("unit"), strict=False):
        count = len(UNITS) if number == 1 else 3  # every singular occurs
        for offset in range(count):
            unit = UNITS[(start + offset * 23) % len(UNITS)]
            yield Value("quantity", _key(number), (_quantity(number, unit, "long"), _quantity(number, unit, "short")))


def _quantity(number: Decimal, unit: str, length: UnitLength) -> Form:
    def write(language: str) -> str:
        return units.format_unit(number, unit, "short" if language == "zh" else length, locale=LOCALES[language])

    return form(write)


def _names() -> Iterator[Value]:
    languages = _shared_codes([locale.languages for locale in LOCALES.values()])
    places = [
        place
        for place in _shared_codes([locale.territories for locale in LOCALES.values()])
        if place not in _NO_PLACES and not _has_brackets(place)
    ]
    for code in languages:
        yield Value("language", None, (_language(code),))
    for code in places:
        yield Value("place", None, (_place(code),))
    pairs = shuffled("names", ((language, place) for language in languages for place in places))
    for language, place in pairs[:5000]:
        yield Value("language and place", f"names:{language}-{place}", (_both(language, place),))


def _shared_codes(names: list[Mapping[str, str]]) -> list[str]:
    """The two-letter codes that are named in every language."""
    return sorted(code for code in set.intersection(*map(set, names)) if len(code) == 2)


def _has_brackets(place: str) -> bool:
    return any("(" in text or "（" in text for text in _place(place).values())


@cache
def _language(code: str) -> Form:
    return form(lambda language: LOCALES[language].languages[code])


@cache
def _place(code: str) -> Form:
    return form(lambda language: LOCALES[language].territories[code])


def _both(language: str, place: str) -> Form:
    languages, places = _language(language), _place(place)
    return {code: _LOCALE_PATTERN[code].format(languages[code], places[code]) for code in LANGUAGES}
