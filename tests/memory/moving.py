"""The middle of test_everything.py: migration of whatever page there is. The model knows nothing of it."""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import rule
from mappings import PAGES_MAX, Mappings, places, spot
from memory_model import PAGE

from pymigrate import Destination, Migration, migrate
from pymigrate.migration import PROTOCOLS

protocols = st.sampled_from(PROTOCOLS)
modes = st.sampled_from(["async", "sync-light", "sync"])
destinations = st.one_of(
    st.none(),
    st.sampled_from([Destination(zone=0), Destination(below=90), Destination(above=70)]),
)


class Moving(Mappings):
    """Migration must not be seen by anybody: no rule here changes the model."""

    tried: ClassVar[int] = 0
    moved: ClassVar[int] = 0

    def frames_of(self, pair: Any, vpn: int, n: int) -> list[int]:
        space, model = pair
        entries = [space.lookup((vpn + i) * PAGE) for i in range(n) if (vpn + i) in model.slots]
        return [entry.pfn for entry in entries if entry is not None and entry.kind == "present"]

    def count(self, tried: int, moved: int) -> None:
        type(self).tried += tried
        type(self).moved += moved

    @rule(
        pair=Mappings.spaces,
        place=places,
        n=st.integers(1, PAGES_MAX),
        protocol=protocols,
        mode=modes,
        destination=destinations,
        touch=st.booleans(),
    )
    def migrate(self, pair: Any, place: Any, n: int, protocol: Any, mode: Any, destination: Any, touch: bool) -> None:
        if pair not in self.live:
            return
        pfns = self.frames_of(pair, spot(pair[1], place), n)
        got = self.do(
            lambda: migrate(self.machine, pfns, protocol=protocol, mode=mode, destination=destination, touch=touch)
        )
        if not isinstance(got, Exception):
            assert (got.to[got.status != 0] == 2**64 - 1).all()
            self.count(len(pfns), got.moved)

    @rule(
        pair=Mappings.spaces,
        place=places,
        protocol=protocols,
        mode=modes,
        steps=st.integers(0, 12),
        touch=st.booleans(),
    )
    def migrate_by_steps(self, pair: Any, place: Any, protocol: Any, mode: Any, steps: int, touch: bool) -> None:
        """Some steps; then it is given up, or was over. After the rule the core checks itself."""
        if pair not in self.live:
            return
        pfns = self.frames_of(pair, spot(pair[1], place), 1)
        if not pfns:
            return
        got = self.do(lambda: Migration(self.machine, pfns[0], protocol=protocol, mode=mode, touch=touch))
        if isinstance(got, Exception):
            return
        with got as migration:
            for _ in range(steps):
                if migration.over:
                    break
                self.do(migration.step)
            if steps > 10:
                self.count(1, migration.state == "done")

    @rule(number=st.integers(0, 20), protocol=protocols)
    def migrate_a_movable_block(self, number: int, protocol: Any) -> None:
        blocks = sorted(self.balloon_numbers())
        if not blocks:
            return
        number = blocks[number % len(blocks)]
        before = self.balloon.frame(number)
        got = self.do(lambda: migrate(self.machine, [before], protocol=protocol))
        after = before if isinstance(got, Exception) or not got.moved else int(got.to[0])
        assert self.balloon.frame(number) == after

    def balloon_numbers(self) -> list[int]:
        """Blocks that are allocated; those that are not say so."""
        found = []
        for number in range(40):
            try:
                self.balloon.frame(number)
            except ValueError:
                continue
            found.append(number)
        return found
