"""Which images runs are of: a name for each data set, its size and its folder told where several have one name."""

from collections.abc import Sequence

from assimilate.pages.run import Run


def told_apart(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs, their images called such that two names are two sets of images: "digits at 16²", "mine in /data/mine".

    Runs of the same pixels have one name, whatever their settings: of 360 test images at most 1,000 are all. What the
    paper prints numbers of is called what the paper calls it.

    Args:
        runs: all that stand on one page.
    """
    marks: dict[object, tuple[str, str, str]] = {}  # by images
    for run in runs:
        own = _marks(run)
        marks[_images(run)] = min(marks.get(_images(run), own), own, key=lambda each: (sum(map(len, each)), each))
    sizes: dict[str, set[str]] = {}
    roots: dict[str, set[str]] = {}
    tested: dict[tuple[str, str], set[str]] = {}  # a budget takes fewer of all
    for run in runs:
        size, root, share = marks[_images(run)]
        sizes.setdefault(run.dataset, set()).add(size)
        roots.setdefault(run.dataset, set()).add(root)
        tested.setdefault((run.dataset, run.place.budget), set()).add(share)
    found = []
    for run in runs:
        size, root, share = marks[_images(run)]
        name = run.dataset + (f" at {size}" if size and len(sizes[run.dataset] - {""}) > 1 else "")
        name += f" in {root}" if root and len(roots[run.dataset]) > 1 else ""
        name += share if len(tested[run.dataset, run.place.budget]) > 1 else ""
        named = run.titles.model_copy(update={"dataset": name})
        found.append(run if name == run.dataset or run.is_printed else run.model_copy(update={"titles": named}))
    return tuple(found)


def _images(run: Run) -> object:
    """The same of two runs whose pixels are the same, or, where a result does not say that, their settings."""
    return run.dataset, run.data_fingerprint or _marks(run)


def _marks(run: Run) -> tuple[str, str, str]:
    """What may tell its images from others of their name: their size, their folder, and which of them are tested."""
    return _size(run), run.root, _tested(run)


def _tested(run: Run) -> str:
    """ ", 64 test images", where not all of them are taken."""
    most, share = (run.group("dataset").get(key) for key in ("max_test_images", "test_fraction"))
    images = f", {most} test images" if isinstance(most, int) else ""
    return images + (f", test_fraction={share}" if share is not None else "")


def _size(run: Run) -> str:
    """ "16²"; "" where the result does not say it."""
    side = run.group("dataset").get("image_size")
    return f"{side}²" if isinstance(side, int) else ""
