"""What viewers write under their stars, in the language of the country and now and then in another."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from shopstream_assets.domains.streamvision.simulator.calendar import LOCALE
from shopstream_assets.simulation.names import LOCALES
from shopstream_assets.simulation.world import choose

# By locale as LOCALES has them, then from 1 to 5 stars.
_WRITTEN = {
    "fr_FR": (
        "Nul. Arrêté au bout de dix minutes 😴",
        "Déçu, l'histoire traîne…",
        "Pas mal, sans plus.",
        "Très bon, à voir en V.O. 👍",
        "Un chef-d'œuvre ! J'ai pleuré 😭❤️",
    ),
    "en_US": (
        "Fell asleep. Twice. 🥱",
        'Great cast, "meh" script',
        "It's fine, background TV",
        "Loved it - that ending though!",
        "10/10, best thing on here 🔥🔥🔥",
    ),
    "de_DE": (
        "Zeitverschwendung 👎",
        "Schöne Bilder, dünne Story",
        "Ganz okay für einen Sonntag",
        "Spannend bis zum Schluss!",
        "Großartig, unbedingt ansehen 🤩",
    ),
    "es_ES": (
        "Malísima, ni 5 minutos 😡",
        "¿Y el guion? Flojo…",
        "Se deja ver",
        "¡Muy buena! La recomiendo",
        "Obra maestra 👏👏 ¡qué final!",
    ),
    "it_IT": (
        "Che noia… 😒",
        "Così così, troppo lunga",
        "Carino",
        "Bello, recitato benissimo",
        "Capolavoro assoluto ❤️🍿",
    ),
}
_ELSEWHERE = (
    ("つまらなかった😩", "微妙…", "まあまあ", "面白かった！", "最高でした🎬✨"),
    ("Perda de tempo 🙄", "Não é pra mim", "Razoável", "Muito bom, cadê a 2ª temporada?", "Incrível!!! 🇧🇷💚"),
    ("ممل جدا 😴", "ليس جيدا", "مقبول", "جميل", "رائع 👏"),
    ("Скучно", "Не дотянули\nдо книги", "Нормально", "Хорошо 👍", "Шедевр! 🥹"),
)
_TEXTS = [*(text for locale in LOCALES for text in _WRITTEN[locale]), *(text for texts in _ELSEWHERE for text in texts)]
WITH_A_COMMENT, IN_ANOTHER_LANGUAGE = 0.4, 0.07
# Most who write at all write little; some add a word of their own.
_ENDINGS = ("", "", "", "", " 🙂", " \\o/", " <3", " {spoiler!}", "  ")


def comments(rng: np.random.Generator, country: np.ndarray, stars: np.ndarray) -> np.ndarray:
    """A code for what each viewer writes under the stars, -1 for nothing; `written` spells it."""
    n = len(stars)
    elsewhere = len(LOCALES) + rng.integers(len(_ELSEWHERE), size=n)
    language = np.where(rng.random(n) < IN_ANOTHER_LANGUAGE, elsewhere, LOCALE[country])
    code = (language * 5 + stars - 1) * len(_ENDINGS) + choose(rng, [1.0] * len(_ENDINGS), n)
    return np.where(rng.random(n) < WITH_A_COMMENT, code, -1)


def written(codes: np.ndarray) -> pa.Array:
    """The texts of codes, null for -1."""
    pool = pa.array([f"{text}{ending}" for text in _TEXTS for ending in _ENDINGS])
    return pool.take(pa.array(codes, pa.int64(), mask=codes < 0))
