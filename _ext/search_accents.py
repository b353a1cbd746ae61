"""Find words with accents without them, and the other way round: "Nystrom" finds "Nyström"."""

from __future__ import annotations

import unicodedata
from typing import Any

from sphinx.application import Sphinx
from sphinx.search.en import SearchEnglish


def without_accents(word: str) -> str:
    """Return a word without the accents of its letters."""
    letters = unicodedata.normalize("NFD", word)
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


# Sphinx's page of results looks up the stem of each word of a query.
JS_STEMMER = f"""{SearchEnglish.js_stemmer_code}
var StemmerOfPlainLetters = Stemmer;
var Stemmer = function () {{
  const stemmer = new StemmerOfPlainLetters();
  this.stemWord = word => stemmer.stemWord(word.normalize("NFD").replace(/\\p{{M}}/gu, ""));
}};
"""


class SearchWithoutAccents(SearchEnglish):
    """English whose words lose their accents, in the index and in what a reader asks for."""

    js_stemmer_code = JS_STEMMER

    def stem(self, word: str) -> str:
        """Return the stem of a word without accents."""
        return super().stem(without_accents(word))


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_search_language(SearchWithoutAccents)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
