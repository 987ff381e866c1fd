"""Keep out tasks that hold personal data: addresses, telephone, account and card numbers that could be somebody's.

Forms are looked for by patterns, and each must then hold up: by the public suffix list (tldextract), by the numbering
plans of all countries (phonenumbers), by the rules of each country's IBAN and by check digits (python-stdnum). Nothing
is downloaded. Code is full of examples and version numbers, so what is written to be an example is none of anybody's.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from schemas.errors import MissingExtra
from task_registry.gates.gate import Facts, Finding, GateSettings

_EMAIL = re.compile(
    r"(?<![\w.+\-/@%])([A-Za-z0-9][\w.+\-]{0,63})@((?:[A-Za-z0-9\-]{1,63}\.){1,8}[A-Za-z]{2,24})(?![\w@(]|\.\w)"
)
_PASSWORD = re.compile(r"//[^\s/@]*:$")
"""Before what looks like an address and is the password and host of a URL."""
_NOBODY = re.compile(
    r"(?:git|hg|svn|ssh|root|admin|info|support|contact|no-?reply|do-?not-?reply|user(?:name)?|you(?:r[._]?name)?|me|my"
    r"|someone|somebody|name|e?mail|test(?:er|ing)?|foo|bar|baz|spam|eggs|alice|bob|john(?:[._]?doe)?|jane(?:[._]?doe)?"
    r"|first(?:[._]?last)?)\d*$",
    re.IGNORECASE,
)
"""Before the `@`: accounts that are no person's, and names that examples use."""
# fmt: off
_NOWHERE = frozenset({
    "example", "test", "tests", "testing", "domain", "mydomain", "yourdomain", "host", "hostname", "server",
    "company", "mycompany", "yourcompany", "site", "mysite", "somewhere", "nowhere", "foo", "bar",
    "baz", "foobar", "qux", "quux", "blah", "spam", "eggs", "acme", "iana", "iana-servers",
    "a", "b", "c", "x", "y", "z", "abc", "xyz",
})
"""Of a domain, the part that was registered: those that examples use."""
_EXAMPLES = frozenset({
    "4111111111111111", "4242424242424242", "4012888888881881", "4222222222222222", "4000056655665556",
    "4917610000000000", "5555555555554444", "5105105105105100", "5200828282828210", "2223003122003222",
    "6011111111111117", "6011000990139424", "378282246310005", "371449635398431", "378734493671000",
    "GB82WEST12345698765432", "GB29NWBK60161331926819", "GB33BUKB20201555555555", "DE89370400440532013000",
    "FR1420041010050500013M02606", "CH9300762011623852957", "NL91ABNA0417164300", "BE68539007547034",
    "ES9121000418450200051332",
})
"""Cards of the test modes of payment services, and IBANs of the standard's registry."""
# fmt: on
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_CARD = re.compile(
    r"(?<![\w.\-])"
    r"(?:(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011|65\d\d)([ -]?)\d{4}\1\d{4}\1\d{4}|3[47]\d\d([ -]?)\d{6}\2\d{5})"
    r"(?![\w\-]|\.\d)"
)
"""Visa, Mastercard, Discover and American Express, as they are printed or without spaces."""
_GOES_ON = re.compile(r"\.?\w")
_DECIMAL = re.compile(r"\+\d+\.\d+")
_NORTH_AMERICA = 1
_NOBODYS_EXCHANGE = "555"


def check(tasks: Sequence[Facts], _settings: GateSettings) -> Mapping[str, Finding]:
    """See `Gate`. Reasons: `email`, `phone`, `iban`, `card`, the first that applies; the detail names all kinds.

    Never the data itself.
    """
    found_by = kinds()
    in_tests = cache(lambda tests: {name for name, holds in found_by.items() if holds("\n".join(tests))})
    found = {}
    for task in tasks:
        named, texts = in_tests(task.tests), task.texts()
        own = [name for name, holds in found_by.items() if name in named or any(holds(text) for text in texts)]
        if own:
            found[task.instance_id] = Finding(own[0], ", ".join(own))
    return found


def _is_in_url(found: re.Match[str]) -> bool:
    line = found.string.rfind("\n", 0, found.start()) + 1
    return _PASSWORD.search(found.string, line, found.start()) is not None


def _is_phone(text: str, found: Any) -> bool:
    """Whether what phonenumbers found is no sum, no part of a decimal number, and not of those that films use."""
    number = found.number
    is_fiction = number.country_code == _NORTH_AMERICA and str(number.national_number)[3:6] == _NOBODYS_EXCHANGE
    is_number = _DECIMAL.fullmatch(found.raw_string) or _GOES_ON.match(text, found.end)
    return found.raw_string[1].isdigit() and not is_number and not is_fiction


def kinds() -> Mapping[str, Callable[[str], bool]]:
    """Kind to whether a text holds it.

    Raises:
        MissingExtra: a library is not installed.
    """
    try:
        import phonenumbers
        import stdnum.iban
        import stdnum.luhn
        import tldextract
    except ImportError as error:
        raise MissingExtra(
            f"{error.name} is not installed. Personal data is looked for with it: pip install 'gymforge[release]'."
        ) from error
    domains = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    @cache
    def is_domain(name: str) -> bool:
        parts = domains(name.lower())
        return bool(parts.suffix and parts.domain) and parts.domain not in _NOWHERE and "noreply" not in name

    def has_phone(text: str) -> bool:
        found = phonenumbers.PhoneNumberMatcher(text, None) if "+" in text else ()
        return any(_is_phone(text, one) for one in found)

    def numbers(pattern: re.Pattern[str], text: str) -> Iterator[str]:
        found = (re.sub("[ -]", "", one.group()) for one in pattern.finditer(text))
        return (one for one in found if one not in _EXAMPLES)

    return {
        "email": lambda text: any(
            is_domain(one[2]) and not _NOBODY.match(one[1]) and not _is_in_url(one) for one in _EMAIL.finditer(text)
        ),
        "phone": has_phone,
        "iban": lambda text: any(stdnum.iban.is_valid(one) for one in numbers(_IBAN, text)),
        "card": lambda text: any(stdnum.luhn.is_valid(one) for one in numbers(_CARD, text)),
    }
