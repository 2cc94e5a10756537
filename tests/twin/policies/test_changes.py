"""What changed between two tuples."""

from hypothesis import given
from hypothesis import strategies as st

from moyai.twin.policies.changes import changes

ITEMS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 1)), max_size=60, unique_by=lambda item: item[0])


def key(item: tuple[int, int]) -> str:
    """In the order of the numbers."""
    return f"{item[0]:03d}"


@given(ITEMS, ITEMS)
def test_what_is_told_makes_the_new_of_the_old(before, after):
    """Whatever both are, in order."""
    old, new = tuple(sorted(before)), tuple(sorted(after))
    gone, come = changes(old, new, key)
    assert sorted(gone) == sorted(o for o in old if key(o) not in map(key, new))
    assert sorted(come) == sorted(set(new) - set(old))


@given(ITEMS, ITEMS)
def test_out_of_order_nothing_is_lost(before, after):
    """Some go and come again."""
    old, new = tuple(before), tuple(after)
    gone, come = changes(old, new, key)
    kept = {key(o): o for o in old}
    for item in gone:
        del kept[key(item)]
    kept |= {key(item): item for item in come}
    assert kept == {key(n): n for n in new}


@given(st.integers(0, 400), st.integers(0, 400), st.booleans())
def test_one_change_among_many(size, at, goes):
    """Wherever it is."""
    old = tuple((n, 0) for n in range(size))
    if at >= size:
        assert changes(old, (*old, (at, 0)), key) == ([], [(at, 0)])
    elif goes:
        assert changes(old, (*old[:at], *old[at + 1 :]), key) == ([old[at]], [])
    else:
        assert changes(old, (*old[:at], (at, 1), *old[at + 1 :]), key) == ([], [(at, 1)])
