"""The tags of a task: language, domain, complexity, and the versions of everything that made them."""

from functools import cache
from importlib.metadata import version

from extractors.facts import TaskFacts
from extractors.index import RepoIndex
from extractors.syntax import language_of, syntax_of
from extractors.taggers import complexity, domain
from schemas.repo import Language
from schemas.tasks import Tags


def tag_task(facts: TaskFacts, index: RepoIndex) -> Tags:
    """Tag one task; the same facts and tree give the same tags on any machine.

    Raises:
        LookupError: the changed file is of no language that can be parsed.
    """
    path = facts.candidate.entity.path
    language = language_of(path)
    if language is None:
        raise LookupError(f"{path} is of no language in extractors.syntax.LANGUAGES, so it cannot be tagged")
    return Tags(
        language=language,
        domain=domain.tag_domain(path, index),
        complexity=complexity.tag_complexity(facts, index),
        tagger_versions=_versions(language),
    )


@cache
def _versions(language: Language) -> tuple[str, ...]:
    grammar = syntax_of(language).distribution
    return tuple(
        sorted(
            (
                f"gymforge-complexity=={complexity.VERSION}",
                f"gymforge-domain=={domain.VERSION}",
                f"tree-sitter=={version('tree-sitter')}",
                f"{grammar}=={version(grammar)}",
            )
        )
    )
