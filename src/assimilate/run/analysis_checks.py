"""What `analysis` may hold, and which stage reads it; checked before anything starts."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from assimilate.assimilation.arrangement import GENERATED
from assimilate.errors import UserError
from assimilate.graph.wiring import find_class
from assimilate.run.analysis_settings import MOST_CLASSES, analysis_class, measures_pair
from assimilate.run.job import shell_word
from assimilate.run.recipe import Recipe
from assimilate.views.step import View

PAIRED = ("original", "expert", GENERATED)
# Those that have settings which a figure can vary.
TUNED = ("cached", "latents", "inverted")
# Training settings that no analysis reads.
UNREAD = ("assim", "probe", "knn", "logger", "checkpoint", "loss.alpha", "loss.align_anchors")


def view_words(config: Mapping[str, Any]) -> list[str]:
    """The kinds of views that a figure asks for, each perhaps with settings of its own behind its name."""
    return config["analysis"].get("columns") or config["analysis"].get("views") or []


def shown_as(target: str) -> str | None:
    """How a figure comes by the views of a class.

    Raises:
        UserError: it cannot be imported.
    """
    return find_class("view._target_", target, View).shown


def check_analysis(config: Mapping[str, Any], keys: Sequence[str], stage: str, views: Mapping[str, str]) -> None:
    """Refuse an analysis that cannot be made, and settings of one where none is made.

    Args:
        config: the resolved configuration.
        keys: the keys of the command line's overrides.
        stage: the command.
        views: the class that each option of `view` names.

    Raises:
        UserError: the analysis cannot be made, or its settings would be ignored.
    """
    analysis = config["analysis"]
    given = [key for key in keys if key == "analysis" or key.startswith("analysis.")]
    if stage != "analyze":
        if measures_pair(config) and stage in ("train", "evaluate"):
            what = config["row"] or f"analysis.pair={analysis['pair']}"
            raise UserError(f"{what} is a measurement, nothing is trained: run it with python -m assimilate.analyze")
        if given and not measures_pair(config):
            raise UserError(f"{', '.join(given)} would be ignored: python -m assimilate.analyze reads it")
        return
    unread = [key for key in keys if any(key == name or key.startswith(f"{name}.") for name in UNREAD)]
    if unread:
        raise UserError(f"{', '.join(unread)} would be ignored: assimilate.analyze trains nothing but f")
    _check_style(config)
    if measures_pair(config):
        _check_pair(config)
        return
    if analysis_class(config).looks_at:
        _check_views(config, keys, views)
    else:
        _check_runs(config)


def _check_style(config: Mapping[str, Any]) -> None:
    style = config["analysis"].get("style", "light")
    if style in ("light", "dark"):
        return
    from matplotlib.style import available  # which takes a while

    if style not in available:
        raise UserError(
            f"analysis.style={style} cannot be used: allowed are light, dark and matplotlib's {', '.join(available)}"
        )


def _check_pair(config: Mapping[str, Any]) -> None:
    pair, kind, row = config["analysis"]["pair"], config["analysis"]["kind"], config["row"]
    if "pair" in analysis_class(config).of_others:
        raise UserError(f"analysis={kind} cannot be drawn of {row or 'analysis.pair'}, which is one line of Table 1")
    if not isinstance(pair, list) or len(pair) != 2 or len(set(pair)) != 2 or not set(pair) <= set(PAIRED):
        raise UserError(f"analysis.pair={pair} cannot be used: allowed are two different ones of {', '.join(PAIRED)}")
    if GENERATED not in pair:
        return
    view = Recipe(config).view
    if view is None or not view.is_stored:
        raise UserError(
            f"view={config['view']['name']} with assim={config['assim']['name']} cannot be used with "
            f"analysis.pair={pair}: the generated view is one of a cache, e.g. view=wsearch with assim=a2"
        )


def _is_shown(target: str, ways: Sequence[str]) -> bool:
    with contextlib.suppress(UserError):  # a broken class of the user's is reported when it is used
        return shown_as(target) in ways
    return False


def _check_views(config: Mapping[str, Any], keys: Sequence[str], views: Mapping[str, str]) -> None:
    analysis, kind = config["analysis"], analysis_class(config)
    key = "analysis.columns" if "columns" in analysis else "analysis.views"
    words = view_words(config)
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word.split() for word in words):
        raise UserError(f"{key}={words} cannot be used: allowed is a list of names of views, at least one")
    names = [word.split()[0] for word in words]
    shown = {name: shown_as(views[name]) for name in names if name in views}
    unknown = [name for name in names if shown.get(name) not in kind.looks_at]
    if unknown:
        allowed = ", ".join(name for name, target in views.items() if _is_shown(target, kind.looks_at))
        figure = f"analysis={analysis['kind']}"
        raise UserError(f"{key}: {', '.join(unknown)} cannot be used with {figure}: allowed are {allowed}")
    if len(set(words)) < len(words):
        raise UserError(f"{key}={words} names one view twice")
    stray = [part for word in words for part in word.split()[1:] if not part.startswith("view.") or "=" not in part]
    if stray:
        raise UserError(f"{key}: {', '.join(stray)}: behind a view's name stand settings of it, view.KEY=VALUE")
    tuned = [word for word in words if len(word.split()) > 1 and shown[word.split()[0]] not in TUNED]
    if tuned:
        raise UserError(f"{key}: {tuned[0]!r}: only views of a cache, or of latents, have settings")
    networks = [name for name in names if shown[name] == "network"]
    if networks and analysis["viewmaker"] is None:
        raise UserError(
            f"{key}: {networks[0]} views are made by the network of a finished run: give analysis.viewmaker=<its "
            "folder>; python -m assimilate.train +table3=expert_expert_viewmaker_a2 makes one"
        )
    if not networks and analysis.get("viewmaker") is not None:
        raise UserError(f"analysis.viewmaker would be ignored: {key}={words} has no viewmaker")
    if "view" in keys and config["view"]["name"] not in names:
        name = config["view"]["name"]
        instead = shell_word(f"{key}=[{name}]")
        raise UserError(f"view={name} would be ignored: {key}={words} has no such view; give {instead}")
    pictures = (analysis.get("num_images") or math.inf) * analysis.get("num_views", 1)
    if kind.most_pictures is not None and pictures > kind.most_pictures:
        raise UserError(
            f"analysis.num_images={analysis['num_images']} and num_views={analysis['num_views']} are more than "
            f"{kind.most_pictures} pictures of a kind in one figure"
        )


def _check_runs(config: Mapping[str, Any]) -> None:
    runs, labels, classes = (config["analysis"].get(key) for key in ("runs", "labels", "classes"))
    named = isinstance(classes, list) and all(isinstance(name, str | int) for name in classes)
    count = len(set(classes)) if named else classes
    if classes is not None and (type(count) is not int or not 0 < count <= MOST_CLASSES):
        raise UserError(
            f"analysis.classes={classes} cannot be used: allowed is a whole number from 1 to {MOST_CLASSES}, or a list "
            "of as many names of classes"
        )
    if not isinstance(runs, list) or not all(isinstance(run, str) and run for run in runs):
        raise UserError(
            f"analysis.runs={runs} cannot be used: give rows, folders of finished runs or patterns of folders, "
            "e.g. 'analysis.runs=[table3/expert_expert_simclr,table3/expert_expert_wsearch_a2]', or [] for every run"
        )
    if labels is not None and (not isinstance(labels, list) or len(labels) != len(runs)):
        raise UserError(f"analysis.labels={labels} cannot be used: allowed is null, or as many names as analysis.runs")
