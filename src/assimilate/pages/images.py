"""Which images runs are of: a name for each data set, its size and its folder told where several have one name."""

from collections.abc import Sequence

from assimilate.pages.run import Run


def told_apart(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs, their images called such that two names are two sets of images: "digits at 16²", "mine in /data/mine".

    What the paper prints numbers of is called what the paper calls it.

    Args:
        runs: all that stand on one page.
    """
    sizes: dict[str, set[str]] = {}
    roots: dict[str, set[str]] = {}
    tested: dict[tuple[str, str], set[str]] = {}  # a budget takes fewer of all
    for run in runs:
        sizes.setdefault(run.dataset, set()).add(_size(run))
        roots.setdefault(run.dataset, set()).add(run.root)
        tested.setdefault((run.dataset, run.place.budget), set()).add(_tested(run))
    found = []
    for run in runs:
        size = _size(run) if len(sizes[run.dataset] - {""}) > 1 else ""
        root = run.root if len(roots[run.dataset]) > 1 else ""
        share = _tested(run) if len(tested[run.dataset, run.place.budget]) > 1 else ""
        name = run.dataset + (f" at {size}" if size else "") + (f" in {root}" if root else "") + share
        named = run.titles.model_copy(update={"dataset": name})
        found.append(run if name == run.dataset or run.is_printed else run.model_copy(update={"titles": named}))
    return tuple(found)


def _tested(run: Run) -> str:
    """ ", 64 test images", where not all of them are taken."""
    most, share = (run.group("dataset").get(key) for key in ("max_test_images", "test_fraction"))
    images = f", {most} test images" if isinstance(most, int) else ""
    return images + (f", test_fraction={share}" if share is not None else "")


def _size(run: Run) -> str:
    """ "16²"; "" where the result does not say it."""
    side = run.group("dataset").get("image_size")
    return f"{side}²" if isinstance(side, int) else ""
