"""Keep out tasks whose text or patch holds a key, a token or a password that a service would take; by detect-secrets.

Its detectors that know a service's own form are used, and not those that guess from a word beside it or from entropy:
hashes and test data would be taken for secrets all the time.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from schemas.errors import MissingExtra
from task_registry.gates.gate import Facts, Finding, GateSettings

DETECTORS = (
    "ArtifactoryDetector",
    "AWSKeyDetector",
    "AzureStorageKeyDetector",
    "BasicAuthDetector",
    "CloudantDetector",
    "DiscordBotTokenDetector",
    "GitHubTokenDetector",
    "GitLabTokenDetector",
    "JwtTokenDetector",
    "MailchimpDetector",
    "NpmDetector",
    "OpenAIDetector",
    "PrivateKeyDetector",
    "PypiTokenDetector",
    "SendGridDetector",
    "SlackDetector",
    "SquareOAuthDetector",
    "StripeDetector",
    "TelegramBotTokenDetector",
    "TwilioKeyDetector",
)

_BASIC_AUTH = "Basic Auth Credentials"
_HOST = re.compile(r"://[^\s/@]+@(\S*)")
_NO_HOST = re.compile(
    r"(?:(?:[\w-]+\.)*(?:example(?:\.(?:com|net|org))?|localhost)|(?:[\w-]+\.)+(?:test|invalid)"
    r"|127(?:\.\d+){3}|\[::1\])(?::\d+)?(?:[/?#'\")\]>][^@]*)?",
    re.IGNORECASE,
)
"""Names that are nobody's (RFC 2606, RFC 6761) and the machine itself, whole: no password is for them."""


def check(tasks: Sequence[Facts], _settings: GateSettings) -> Mapping[str, Finding]:
    """See `Gate`. Reason: `secret`; the detail names the kind and never the secret."""
    try:
        from detect_secrets.settings import transient_settings
    except ImportError as error:
        raise MissingExtra(
            "detect-secrets is not installed. Secrets are looked for with it: pip install 'gymforge[release]'."
        ) from error
    found = {}
    with transient_settings({"plugins_used": [{"name": name} for name in DETECTORS]}):
        in_tests = cache(lambda tests: frozenset(_kinds("\n".join(tests))))
        for task in tasks:
            kinds = sorted({kind for text in task.texts() for kind in _kinds(text)} | in_tests(task.tests))
            if kinds:
                found[task.instance_id] = Finding("secret", ", ".join(kinds))
    return found


def _kinds(text: str) -> Iterator[str]:
    from detect_secrets.core.scan import scan_line

    for line in text.splitlines():
        for secret in scan_line(line):
            if secret.type != _BASIC_AUTH or not all(map(_NO_HOST.fullmatch, _HOST.findall(line))):
                yield secret.type
