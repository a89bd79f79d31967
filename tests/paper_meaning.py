"""What each row of the paper is, typed from the paper and PROTOCOLS: keys of the composed configuration and values."""

from typing import Any

from tests.paper_tables import C10, C100, FAKE, TINY

SAMPLED = "assimilate.generator.sampled_dataset.Sampled"

# Table 9, and PROTOCOLS 1, 2, 12 for what it leaves out.
DATASETS: dict[str, dict[str, Any]] = {
    C10: {
        "epochs": 800, "batch_size": 128, "drop_last": True, "batchnorm": "per_view", "simclr_loss": "infonce",
        "optimizer": {"name": "sgd", "lr": 0.015, "momentum": 0.9, "weight_decay": 5e-5,
                      "schedule": "cosine_with_warmup", "warmup_epochs": 10},
        "loss": {"temperature": 0.5, "base_temperature": None},
        "encoder": {"backbone": "resnet18", "width": 64, "stem": "cifar", "projector": "essl", "output_dim": 2048},
        "probe": {"name": "essl"}, "dataset": {"image_size": 32},
    },
    C100: {
        "epochs": 1200, "batch_size": 512, "drop_last": False, "batchnorm": "concatenated", "simclr_loss": "ntxent",
        "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.9, "weight_decay": 1e-4,
                      "schedule": "supcontrast", "warmup_epochs": 10},
        "loss": {"temperature": 0.5, "base_temperature": 0.07},
        "encoder": {"backbone": "resnet50", "width": 64, "stem": "cifar", "projector": "supcontrast",
                    "output_dim": 128},
        "probe": {"name": "supcontrast_best"}, "dataset": {"image_size": 32},
    },
    TINY: {
        "epochs": 1000, "batch_size": 512, "drop_last": False, "batchnorm": "concatenated", "simclr_loss": "ntxent",
        "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.9, "weight_decay": 1e-4,
                      "schedule": "supcontrast", "warmup_epochs": 10},
        "loss": {"temperature": 0.5, "base_temperature": 0.07},
        "encoder": {"backbone": "resnet18", "width": 64, "stem": "cifar", "projector": "supcontrast",
                    "output_dim": 128},
        "probe": {"name": "supcontrast_best"}, "dataset": {"image_size": 64},
    },
    FAKE: {
        "epochs": 20, "batch_size": 256, "batchnorm": "concatenated", "simclr_loss": "ntxent",
        "optimizer": {"name": "sgd", "lr": 0.03, "momentum": 0.9, "weight_decay": 1e-4},
        "loss": {"temperature": 0.1, "base_temperature": 0.07},
        "encoder": {"backbone": "resnet50", "stem": "imagenet", "projector": "supcontrast", "output_dim": 128},
        "data": {"crop_size": 112}, "probe": {"name": "genrep"},
        "dataset": {"image_size": 128, "num_images": 1_300_000, "_target_": SAMPLED}, "generator": {"name": "bigbigan"},
    },
}  # fmt: skip

# PROTOCOLS 6 and 7; Sections 3 and 5.3.
VIEWS: dict[str, dict[str, Any]] = {
    "wsearch": {
        "lambda": 0.01, "anchor": "reconstruction", "hinge": "image", "n_cached": 8, "n_used": None, "n_sampled": 1,
        "search": {"optimizer": "adam", "lr": 0.01, "iterations": 1000, "tolerance": 1e-3, "noise_first_view": False},
    },
    "wperturb": {"sigma": 0.2, "projected": False, "cached": True, "n_cached": 8, "n_used": None, "n_sampled": 1},
    "expert": {"draws": "independent", "n_cached": 8, "n_used": None, "n_sampled": 1},
    "viewmaker": {"distortion_budget": 0.05, "lr": 0.001, "n_sampled": 1},
    "reconstruction": {"n_sampled": 1},
    "original": {"n_sampled": 1},
}  # fmt: skip
VIEWS_OF_DATASETS: dict[tuple[str, str], dict[str, Any]] = {
    ("wsearch", C10): {"epsilon1": 0.3, "epsilon2": 0.5, "search": {"initial_noise": 0.001}},
    ("wsearch", C100): {"epsilon1": 0.2, "epsilon2": 0.35, "search": {"initial_noise": 0.005}},
    ("wsearch", TINY): {"epsilon1": 0.2, "epsilon2": 0.31, "search": {"initial_noise": 0.005}},
    ("wperturb", FAKE): {"noise_limit": 2.0},
}
# Table 10; the rest by their authors' scripts (PROTOCOLS 17).
VIEWMAKER: dict[str, dict[str, Any]] = {
    dataset: {
        "epochs": epochs, "batch_size": batch_size, "encoder": {"output_dim": 128, **encoder},
        "loss": {"temperature": temperature, "base_temperature": None, "alpha": alpha},
        "optimizer": {"name": "sgd", "lr": lr, "momentum": 0.9, "weight_decay": 1e-4, "schedule": "constant",
                      "warmup_epochs": 0},
        **(
            {"batchnorm": "per_view", "drop_last": True, "view": {"transform": "none"},
             "data": {"normalize": True, "std": [0.247, 0.243, 0.261]}}
            if dataset == C10
            else {"batchnorm": "concatenated", "drop_last": False, "view": {"transform": "flip"}, "data": {"std": None}}
        ),
    }
    for dataset, epochs, batch_size, lr, temperature, alpha, encoder in (
        (C10, 200, 128, 0.015, 0.07, 0.14, {"projector": "linear", "initialization": "default"}),
        (C100, 800, 512, 0.06, 0.1, 0.1, {"projector": "supcontrast", "hidden_dim": None, "initialization": "fan_out"}),
        (TINY, 800, 128, 0.06, 0.5, 0.5, {"projector": "supcontrast", "hidden_dim": None, "initialization": "fan_out"}),
    )
}  # fmt: skip
# Table 8's other implementation (PROTOCOLS 3) and Table 12's SimSiam (PROTOCOLS 11).
HTDT: dict[str, Any] = {
    "epochs": 1000, "batch_size": 512, "drop_last": True, "batchnorm": "per_view_backbone",
    "optimizer": {"name": "adam", "lr": 2e-3, "momentum": None, "weight_decay": 1e-6, "schedule": "multistep",
                  "warmup_epochs": 0, "warmup_steps": 500, "milestones": [0.95, 0.975], "gamma": 0.2},
    "loss": {"temperature": 0.5, "base_temperature": None},
    "encoder": {"stem": "cifar_maxpool", "initialization": "default_stem", "projector": "htdt", "output_dim": 128},
    "data": {"expert": {"grayscale_probability": 0.1, "interpolation": "bicubic", "order": "jitter_first"}},
    "probe": {"name": "htdt"},
}  # fmt: skip
SIMSIAM: dict[str, Any] = {
    "simclr_loss": "simsiam", "optimizer": {"weight_decay": 5e-4},
    "encoder": {"projector": "simsiam", "hidden_dim": 2048, "predictor_dim": 512},
}  # fmt: skip
F_BY_SIMSIAM: dict[str, Any] = {
    "simclr_loss": "simsiam",
    "view": {"encoder": {"training": {"optimizer": {"weight_decay": 5e-4},
                                      "encoder": {"projector": "simsiam", "predictor_dim": 512}}}},
}  # fmt: skip
F_BY_SIMCLR: dict[str, Any] = {
    "simclr_loss": "infonce",
    "view": {"encoder": {"training": {"optimizer": {"weight_decay": 5e-5},
                                      "encoder": {"projector": "essl", "predictor_dim": None}}}},
}  # fmt: skip
AUG = {"generator": {"augment": "leak", "augment_probability": 0.5}}
G = "generated"


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    """The later over the earlier, mapping by mapping."""
    result: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def _assim(name: str, view1: str, view2: str, view3: str | None, transform: str | None = None) -> dict[str, Any]:
    places: dict[str, Any] = {"name": name, "view1": view1, "view2": view2, "view3": view3}
    return {"assim": places if transform is None else {**places, "generated_transform": transform}}


def simclr(view1: str = "expert", view2: str = "expert", *, view: str | None = None, transform: str | None = None,
           **more: Any) -> dict[str, Any]:  # fmt: skip
    """Two views and the data set's own SimCLR loss."""
    return merged(_assim("simclr", view1, view2, None, transform), {"view": {"name": view}} if view else {}, more)


def a1(view: str, /, **more: Any) -> dict[str, Any]:
    """Replacement: view 2 is a weakly cropped and flipped generated one; the data set's own loss (Section 4)."""
    transform = None if view == "viewmaker" else "weak_crop"
    return merged(_assim("a1", "expert", G, None, transform), {"view": {"name": view}}, more)


def a2(view: str | None, /, view1: str = "expert", view2: str = "expert", view3: str = G, *, loss: str = "infonce",
       alpha: float | None = 0.5, **more: Any) -> dict[str, Any]:  # fmt: skip
    """Multiview, Eq. 4: InfoNCE unless the row says otherwise; generated views are flipped only (PROTOCOLS 8)."""
    drawn = view in (None, "viewmaker") or (view == "expert" and not more.get("view", {}).get("cached"))
    settings: dict[str, Any] = {"name": loss} if alpha is None else {"name": loss, "alpha": alpha}
    anchors = {} if loss == "full" else {"align_anchors": [0, 1]}
    return merged(
        _assim("a2", view1, view2, view3, None if drawn else "flip"),
        {"loss": settings | anchors},
        {"view": {"name": view}} if view else {},
        more,
    )


def _search(**view: Any) -> dict[str, Any]:
    return a2("wsearch", view=view)


# What each row changes; the data sets' values and the views' defaults above hold for the rest.
MEANING: dict[str, dict[str, dict[str, Any]]] = {
    "table1": {
        "original_expert": simclr(analysis={"pair": ["original", "expert"]}),
        "original_wsearch": a2("wsearch", analysis={"pair": ["original", G]}),
        "wsearch_expert": a2("wsearch", analysis={"pair": [G, "expert"]}),
        "original_wperturb": a2("wperturb", analysis={"pair": ["original", G]}),
        "wperturb_expert": a2("wperturb", analysis={"pair": [G, "expert"]}),
    },
    "table3": {
        "expert_expert_simclr": simclr(),
        "expert_wsearch_a1": a1("wsearch"),
        "expert_wperturb_a1": a1("wperturb"),
        "expert_viewmaker_a1": a1("viewmaker", loss={"name": "viewmaker"}),
        "viewmaker_viewmaker_simclr": simclr(G, G, view="viewmaker", loss={"name": "viewmaker"}),
        "expert_expert_expert_a2": a2("expert", view={"cached": True}),
        "expert_expert_wsearch_a2": a2("wsearch"),
        "expert_expert_wperturb_a2": a2("wperturb"),
        "expert_expert_viewmaker_a2": a2("viewmaker", loss="viewmaker", alpha=None),
    },
    "table4": {
        "expert_expert_simclr": simclr(),
        "expert_wperturb_a1": a1("wperturb"),
        "expert_expert_wperturb_a2": a2("wperturb"),
    },
    "table5a": {
        "wsearch_wsearch": simclr(G, G, view="wsearch", transform="flip", **AUG),
        "wsearch_crop90_wsearch_crop90": simclr(G, G, view="wsearch", transform="crop90", **AUG),
        "wsearch_crop70_wsearch_crop70": simclr(G, G, view="wsearch", transform="crop70", **AUG),
        "wsearch_crop50_wsearch_crop50": simclr(G, G, view="wsearch", transform="crop50", **AUG),
        "wsearch_basic_wsearch_basic": simclr(G, G, view="wsearch", transform="basic", **AUG),
        "wperturb_crop50_wperturb_crop50": simclr(G, G, view="wperturb", transform="crop50", **AUG),
    },
    "table5b": {
        "basic_basic_simclr": simclr("basic", "basic"),
        "basic_wsearch_simclr": simclr("basic", G, view="wsearch", transform="flip", **AUG),
        "basic_basic_wsearch_a2": a2("wsearch", "basic", "basic", G, **AUG),
        "wsearch_wsearch_basic_a2": a2("wsearch", G, G, "basic", **AUG),
        "basic_wsearch_wsearch_a2": a2("wsearch", "basic", G, G, **AUG),
    },
    "table6": {
        "wperturb_a2_cached": a2("wperturb", view={"cached": True}),
        "wperturb_a2_on_the_fly": a2("wperturb", view={"cached": False}),
        "expert_a2_cached": a2("expert", view={"cached": True}),
        "expert_a2_on_the_fly": a2("expert", view={"cached": False}),
        "three_view_simclr_on_the_fly": a2("expert", loss="full", alpha=None, view={"cached": False}),
    },
    "table7": {
        "cache16_view1": _search(n_cached=16, n_used=None, n_sampled=1),
        "cache8_view8": _search(n_cached=8, n_used=None, n_sampled=8),
        "cache8_view4": _search(n_cached=8, n_used=None, n_sampled=4),
        "cache8_view1": _search(n_cached=8, n_used=None, n_sampled=1),
        "cache4_view4": _search(n_cached=8, n_used=4, n_sampled=4),
        "cache4_view1": _search(n_cached=8, n_used=4, n_sampled=1),
        "cache2_view2": _search(n_cached=8, n_used=2, n_sampled=2),
        "cache2_view1": _search(n_cached=8, n_used=2, n_sampled=1),
        "cache1_view1": _search(n_cached=8, n_used=1, n_sampled=1),
    },
    "table8": {
        "simclr": simclr(**HTDT),
        "wsearch_a2": merged(HTDT, a2("wsearch")),
    },
    "table11": {
        "a2_full": a2("wsearch", loss="full", alpha=None),
        "a2_simclr_alpha_05": a2("wsearch", loss="ntxent", alpha=0.5),
        "a2_infonce_alpha_05": a2("wsearch", loss="infonce", alpha=0.5),
        "a2_infonce_alpha_1": a2("wsearch", loss="infonce", alpha=1.0),
    },
    "table12": {
        "simsiam_baseline": merged(simclr(**SIMSIAM), {"loss": {"name": "simsiam"}}),
        "wsearch_simclr_a2_simsiam": merged(a2("wsearch", loss="simsiam"), SIMSIAM, F_BY_SIMCLR),
        "wsearch_simsiam_a2_simsiam": merged(a2("wsearch", loss="simsiam"), SIMSIAM),
        "wperturb_a2_simsiam": merged(a2("wperturb", loss="simsiam"), SIMSIAM),
        "simclr_baseline": simclr(),
        "wsearch_simsiam_a2_infonce": merged(a2("wsearch"), F_BY_SIMSIAM),
    },
    "table13": {
        "epsilon1_01": _search(epsilon1=0.1, epsilon2=0.15),
        "epsilon1_02": _search(epsilon1=0.2, epsilon2=0.35),
        "epsilon1_03": _search(epsilon1=0.3, epsilon2=0.5),
        "epsilon1_05": _search(epsilon1=0.5, epsilon2=0.7),
        "epsilon1_07": _search(epsilon1=0.7, epsilon2=0.9),
        "epsilon1_09": _search(epsilon1=0.9, epsilon2=1.1),
    },
    "table14": {
        "epsilon1_01": _search(epsilon1=0.1, epsilon2=0.15),
        "epsilon1_02": _search(epsilon1=0.2, epsilon2=0.15),
        "epsilon1_03": _search(epsilon1=0.3, epsilon2=0.15),
        "epsilon1_05": _search(epsilon1=0.5, epsilon2=0.15),
        "epsilon1_07": _search(epsilon1=0.7, epsilon2=0.15),
    },
    "table15": {
        "lambda_0": _search(epsilon1=0.3, epsilon2=0.5, **{"lambda": 0}),
        "lambda_0005": _search(epsilon1=0.3, epsilon2=0.5, **{"lambda": 0.005}),
        "lambda_001": _search(epsilon1=0.3, epsilon2=0.5, **{"lambda": 0.01}),
        "lambda_002": _search(epsilon1=0.3, epsilon2=0.5, **{"lambda": 0.02}),
    },
    "table16": {
        "sigma_0": a2("reconstruction"),
        "sigma_01": a2("wperturb", view={"sigma": 0.1}),
        "sigma_02": a2("wperturb", view={"sigma": 0.2}),
        "sigma_04": a2("wperturb", view={"sigma": 0.4}),
        "sigma_10": a2("wperturb", view={"sigma": 1.0}),
        "projected_sigma_02": a2("wperturb", view={"sigma": 0.2, "projected": True}),
    },
    "table17": {
        "sigma_01": a2("wperturb", view={"sigma": 0.1}),
        "sigma_02": a2("wperturb", view={"sigma": 0.2}),
        "sigma_04": a2("wperturb", view={"sigma": 0.4}),
        "sigma_10": a2("wperturb", view={"sigma": 1.0}),
    },
    "table18": {
        "reconstruction": a2("reconstruction"),
        "sgd": _search(search={"optimizer": "sgd", "stop": "batch", "width": 128}),
        "one_step": _search(search={"iterations": 1}),
        "two_step": _search(search={"iterations": 2}),
        "original": a2("original"),
    },
    "table19": {
        "basic_basic_simclr": simclr("basic", "basic"),
        "basic_basic_basic_a2": a2(None, "basic", "basic", "basic"),
        "basic_basic_basic_a2_full": a2(None, "basic", "basic", "basic", loss="full", alpha=None),
        "basic_basic_wsearch_aug_a2": a2("wsearch", "basic", "basic", G, **AUG),
        "basic_basic_wsearch_aug_a2_full": a2("wsearch", "basic", "basic", G, loss="full", alpha=None, **AUG),
        "basic_wsearch_aug_simclr": simclr("basic", G, view="wsearch", transform="flip", **AUG),
        "wsearch_aug_wsearch_aug_wsearch_aug_a2": a2("wsearch", G, G, G, **AUG),
        "wsearch_aug_wsearch_aug_wsearch_aug_a2_full": a2("wsearch", G, G, G, loss="full", alpha=None, **AUG),
        "wsearch_aug_wsearch_aug_simclr": simclr(G, G, view="wsearch", transform="flip", **AUG),
        "wsearch_wsearch_simclr": simclr(G, G, view="wsearch", transform="flip"),
    },
}

# Rows that are one and the same run (PROTOCOLS 8; captions and Section 5.3), as (table, row, data set).
SAME_RUNS = (
    {("table3", "expert_expert_simclr", C10), ("table12", "simclr_baseline", C10)},
    {("table3", "expert_expert_expert_a2", C10), ("table6", "expert_a2_cached", C10)},
    {("table3", "expert_expert_wsearch_a2", C10), ("table7", "cache8_view1", C10),
     ("table11", "a2_infonce_alpha_05", C10), ("table13", "epsilon1_03", C10), ("table15", "lambda_001", C10)},
    {("table3", "expert_expert_wsearch_a2", C100), ("table11", "a2_infonce_alpha_05", C100)},
    {("table3", "expert_expert_wperturb_a2", C10), ("table6", "wperturb_a2_cached", C10),
     ("table16", "sigma_02", C10)},
    {("table3", "expert_expert_wperturb_a2", C100), ("table17", "sigma_02", C100)},
    {("table5a", "wsearch_wsearch", C100), ("table19", "wsearch_aug_wsearch_aug_simclr", C100)},
    {("table5b", "basic_basic_simclr", C100), ("table19", "basic_basic_simclr", C100)},
    {("table5b", "basic_wsearch_simclr", C100), ("table19", "basic_wsearch_aug_simclr", C100)},
    {("table5b", "basic_basic_wsearch_a2", C100), ("table19", "basic_basic_wsearch_aug_a2", C100)},
    {("table13", "epsilon1_01", C10), ("table14", "epsilon1_01", C10)},
    {("table16", "sigma_0", C10), ("table18", "reconstruction", C10)},
)  # fmt: skip


def expected(table: str, row: str, dataset: str) -> dict[str, Any]:
    """Keys of the composed configuration and the values that the paper's cell has there."""
    meaning = MEANING[table][row]
    view = meaning.get("view", {}).get("name")
    generated = G in (meaning["assim"][f"view{place}"] for place in (1, 2, 3))
    recipe = DATASETS[dataset]
    if view == "viewmaker":
        recipe = merged(recipe, VIEWMAKER[dataset])
    own = {"loss": {"name": recipe["simclr_loss"]}}
    # Only the tables that say so have a generator trained with expert augmentation.
    generator = {"generator": {"augment": "none"}} if view in ("wsearch", "wperturb") and dataset != FAKE else {}
    of_view = {"view": merged(VIEWS[view], VIEWS_OF_DATASETS.get((view, dataset), {}))} if generated else {}
    measured = {} if table == "table1" else {"analysis": {"pair": None}}
    return merged(recipe, own, generator, of_view, measured, meaning, {"dataset": {"name": dataset}})
