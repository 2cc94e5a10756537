"""The one catalogue of words, for the command line and the console. English and Japanese."""

import os
from collections.abc import Mapping

from moyai.locale.catalogue import LANGUAGES, messages, placeholders, say
from moyai.locale.figures import Language
from moyai.locale.reasons import reason_text

__all__ = ["LANGUAGES", "Language", "language", "messages", "placeholders", "reason_text", "say", "t"]


def language(env: Mapping[str, str]) -> Language:
    """The reader's language: the first of MOYAI_LANG, LC_ALL, LC_MESSAGES and LANG that is set decides."""
    for name in ("MOYAI_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if env.get(name):
            return "ja" if env[name].lower().startswith("ja") else "en"
    return "en"


def t(key: str, /, **figures: object) -> str:
    """`say` in the language of this process's environment."""
    return say(key, language(os.environ), **figures)
