"""Phones as a mouth sees them: sixteen classes of any language."""

from __future__ import annotations

from typing import Final

CLASSES: Final = (
    "",
    "pbmʙɓ",
    "fvɱ",
    "tdnlθðɾʈɖɳɭɫɬ",
    "szʂʐ",
    "ʃʒɕʑ",
    "kgɡŋxɣhɦqχçcɟɲʎʔħʕ",
    "rɹɻʀʁ",
    "wʍɥʋβɸ",
    "iɪjɨ",
    "eɛ",
    "æaɐ",
    "ɑʌɒ",
    "əɜɚɘɝ",
    "oɔɤ",
    "uʊyʏøœɯʉɵ",
)
"""IPA letters that look alike on the lips; the first class is silence."""

_ARPA: Final = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "a", "AX": "ə", "AY": "a", "B": "b",
    "CH": "ʃ", "D": "d", "DH": "ð", "EH": "ɛ", "ER": "ɜ", "EY": "e", "F": "f", "G": "g",
    "HH": "h", "IH": "ɪ", "IY": "i", "JH": "ʒ", "K": "k", "L": "l", "M": "m", "N": "n",
    "NG": "ŋ", "OW": "o", "OY": "ɔ", "P": "p", "R": "r", "S": "s", "SH": "ʃ", "T": "t",
    "TH": "θ", "UH": "ʊ", "UW": "u", "V": "v", "W": "w", "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
_CLASS: Final = {letter: i for i, letters in enumerate(CLASSES) for letter in letters}


def from_arpa(name: str) -> str:
    """IPA letter of an ARPABET phone, stress or not; empty for silence and noise."""
    return _ARPA.get(name.rstrip("012").upper(), "")


def from_ipa(symbol: str) -> int:
    """Class of an IPA symbol: of the last consonant in it (``tʃ``), of the first vowel (``aɪ``)."""
    found = [_CLASS[letter] for letter in symbol if letter in _CLASS]
    if not found:
        return 0
    return found[0] if found[0] >= _CLASS["i"] else found[-1]
