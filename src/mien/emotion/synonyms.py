"""Suggestions for emotion names that mien does not have."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

_WORDS: Final = {
    "happy": "joy joyful joyous glad cheerful delighted pleased elated smiling excited "
    "ecstatic euphoric enthusiastic thrilled hopeful playful merry jolly laughing happiness",
    "sad": "unhappy sorrow sorrowful depressed gloomy miserable upset down crying tearful "
    "melancholy melancholic grief grieving heartbroken disappointed lonely hurt blue sadness "
    "displeased discouraged dejected joyless",
    "angry": "mad furious anger annoyed irritated enraged rage raging outraged cross livid irate "
    "hostile aggressive frustrated bitter indignant",
    "surprised": "shocked astonished amazed startled stunned surprise astounded baffled perplexed "
    "speechless awed",
    "fear": "afraid scared anxious fearful frightened terrified nervous worried panicked panic "
    "horrified alarmed uneasy tense anxiety worry stressed",
    "disgusted": "disgust revolted repulsed nauseated sickened appalled grossed_out",
    "contempt": "contemptuous scornful disdainful scorn disdain disrespectful arrogant smug "
    "haughty",
    "neutral": "calm relaxed serene peaceful tranquil content contented indifferent "
    "emotionless expressionless impassive unemotional unmoved tired sleepy plain normal "
    "composed unaffected unimpressed none",
    "amused": "amusement entertained giggling tickled",
    "bored": "boredom uninterested",
    "charismatic": "charming charm confident charisma",
    "desirous": "desire longing lustful yearning",
    "doubtful": "doubt sceptical skeptical unsure confused puzzled dubious",
    "embarrassed": "ashamed sheepish embarrassment",
    "empathetic": "empathic empathy compassionate sympathetic caring kind compassion sympathy",
    "envious": "jealous envy jealousy covetous",
    "interested": "interest curious attentive intrigued",
    "pain": "hurting suffering aching",
    "proud": "pride triumphant",
    "romantic": "love loving affectionate tender enamoured infatuated flirty flirtatious",
    "sarcastic": "ironic ironical sarcasm mocking cynical sardonic irony",
}
_SYNONYMS: Final = MappingProxyType(
    {word.replace("_", " "): name for name, words in _WORDS.items() for word in words.split()}
)
_NEGATIONS: Final = ("un", "dis", "non", "not", "in", "im", "anti", "mis")
_CUTOFF: Final = 0.72


def suggest(name: str, valid: Sequence[str]) -> str | None:
    """Find the valid name that ``name`` probably means: a synonym, or a misspelling of either.

    A word is never taken for a misspelling of its opposite (``unafraid`` for ``afraid``).

    Args:
        name: in lower case.
        valid: names to choose from.

    Returns:
        One of ``valid``, or None.
    """
    meanings = {word: target for word, target in _SYNONYMS.items() if target in valid}
    meanings.update((word, word) for word in valid)
    if name in meanings:
        return meanings[name]
    near = difflib.get_close_matches(name, meanings, 5, _CUTOFF)
    return next((meanings[word] for word in near if _negated(word) == _negated(name)), None)


def _negated(word: str) -> str:
    prefix = next((prefix for prefix in _NEGATIONS if word.startswith(prefix)), "")
    return prefix + ("less" if word.endswith("less") else "")
