"""A search led token by token from Python, where the step is more than a graph: an engine's own, or guesses read ahead.

The model's state has `at_rows(places)`: the rows (B',) of it alone."""

from collections.abc import Iterator

from regard.decoding.compaction import Compaction
from regard.decoding.loop import Search, SearchState
from regard.decoding.options import Generation


def to_the_end(search: Search, state: SearchState) -> tuple[Generation, SearchState]:
    """What is found, and the state of the rows that went on longest. The rows that are done leave the batch."""
    rows = Compaction(len(state.ids))
    while search.is_open(state):
        state = search.extend(state)
        still = rows.worth(search.open_rows(state))
        if still is not None:
            rows.keep(still, search.result(state))
            state = search.kept(state, still)._replace(state=state.state.at_rows(still))
    return rows.whole(search.result(state)), state


def by_tokens(search: Search, state: SearchState, every: int) -> Iterator[tuple[Generation, SearchState]]:
    """What there is after each `every` tokens, the last time all of it, and the state then."""
    while search.is_open(state):
        for _ in range(every):
            if search.is_open(state):
                state = search.extend(state)
        yield search.result(state), state
