"""Times of packets in the output, where recordings were joined or time stamps are broken."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from mien.media.container import is_join

if TYPE_CHECKING:
    from mien.media.sound import Packet

_NEAR_SECONDS: Final = 5
"""How far apart packets of one time are stored at most."""


@dataclass(slots=True)
class Clock:
    """Time of packets in the output; recordings that were joined follow one another.

    Attributes:
        shifts: seconds to add to the time stamps of each recording.
        joinable: whether recordings can be joined in this format.
        lead: index of the stream whose time stamps tell how long a recording is.
    """

    shifts: list[Fraction]
    joinable: bool
    lead: int = -1
    _number: dict[int, int] = field(default_factory=dict)
    _end: dict[int, Fraction] = field(default_factory=dict)
    _reached: list[Fraction] = field(default_factory=list)
    _before: dict[int, Fraction] = field(default_factory=dict)
    _guess: Fraction = Fraction(0)

    def shift_of(self, packet: Packet) -> Fraction | None:
        """Return the seconds to add to a packet's times; None while that is not known yet."""
        stamp, index = packet.pts if packet.dts is None else packet.dts, packet.stream_index
        number = self._number.setdefault(index, 0)
        if stamp is not None:
            base = Fraction(packet.time_base)
            at, end = stamp * base, self._end.get(index)
            if end is not None and self._is_join(index, end, at):
                waits, before = number >= len(self.shifts), self._before.get(index, at - 1)
                # A stream that returns to where it was had broken time stamps in between.
                number += -1 if waits and abs(at - before) < 1 else 1
                self._number[index], self._before[index] = number, end
                self._guess = self.shifts[-1] + end - at
                if index == self.lead and number == len(self.shifts):
                    self.shifts.append(self._guess)
            self._end[index] = at + (packet.duration or 0) * base
            if index == self.lead:
                self._reached[number:] = [self._end[index]]
        return self.shifts[number] if number < len(self.shifts) else None

    def _is_join(self, index: int, end: Fraction, at: Fraction) -> bool:
        if not is_join(at - end, joinable=self.joinable):
            return False
        # A stream may pause where the lead does not.
        reached = self._reached[self._number[index] :]
        paused = index != self.lead and end < at and reached and at < reached[0] + _NEAR_SECONDS
        return not paused

    def settle(self) -> None:
        """Let the next recording follow the stream that reached it first."""
        self.shifts.append(self._guess)
