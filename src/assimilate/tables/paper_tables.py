"""Every table of the paper that has results in it, in its order."""

from collections.abc import Mapping

from assimilate.tables.layout import PaperTable

NONE = "–"
VIEWS = ("view 1", "view 2", "view 3", "loss")
PROBE_SPREAD = "The paper's ± is over five probe seeds of one training run; ours is over training seeds."

TABLES = (
    PaperTable(
        "table1",
        "1",
        "How much two views of an image share",
        "MINE's estimate of the mutual information between f's outputs for the two views of a pair, and their mean "
        "inner product on the unit sphere (the paper's header says inner product, its caption L2 distance).",
        ("pair",),
        {
            "original_expert": ("original, expert",),
            "original_wsearch": ("original, W-search",),
            "wsearch_expert": ("W-search, expert",),
            "original_wperturb": ("original, W-perturb",),
            "wperturb_expert": ("W-perturb, expert",),
        },
    ),
    PaperTable(
        "table3",
        "3",
        "Four sources of views, two ways of assimilating them",
        "Linear-probe accuracy. A1 puts a generated view in the place of one expert view, A2 appends it to two. The "
        "first and the fifth row are the baselines SimCLR and Viewmaker.",
        VIEWS,
        {
            "expert_expert_simclr": ("expert", "expert", NONE, "SimCLR"),
            "expert_wsearch_a1": ("expert", "W-search", NONE, "A1"),
            "expert_wperturb_a1": ("expert", "W-perturb", NONE, "A1"),
            "expert_viewmaker_a1": ("expert", "Viewmaker", NONE, "A1"),
            "viewmaker_viewmaker_simclr": ("Viewmaker", "Viewmaker", NONE, "SimCLR"),
            "expert_expert_expert_a2": ("expert", "expert", "expert", "A2"),
            "expert_expert_wsearch_a2": ("expert", "expert", "W-search", "A2"),
            "expert_expert_wperturb_a2": ("expert", "expert", "W-perturb", "A2"),
            "expert_expert_viewmaker_a2": ("expert", "expert", "Viewmaker", "A2"),
        },
    ),
    PaperTable(
        "table4",
        "4",
        "ImageNet that a BigBiGAN made up",
        "Trained on 1.3 million sampled images, probed on the real ones. Linear-probe accuracy.",
        VIEWS,
        {
            "expert_expert_simclr": ("expert", "expert", NONE, "SimCLR"),
            "expert_wperturb_a1": ("expert", "W-perturb", NONE, "A1"),
            "expert_expert_wperturb_a2": ("expert", "expert", "W-perturb", "A2"),
        },
    ),
    PaperTable(
        "table5a",
        "5a",
        "No expert view: two generated ones",
        "Both views of CIFAR-100 come from the generator, cropped weakly or strongly: crop50 keeps 50–100% of the area,"
        " crop70 70–100%, crop90 90–100%; basic is the random resized crop of the expert views. All flip. The paper "
        "prints the crop rows without their names; the order here is inferred.",
        ("view 1", "view 2"),
        {
            "wsearch_wsearch": ("W-search", "W-search"),
            "wsearch_crop90_wsearch_crop90": ("W-search + crop90", "W-search + crop90"),
            "wsearch_crop70_wsearch_crop70": ("W-search + crop70", "W-search + crop70"),
            "wsearch_crop50_wsearch_crop50": ("W-search + crop50", "W-search + crop50"),
            "wsearch_basic_wsearch_basic": ("W-search + basic", "W-search + basic"),
            "wperturb_crop50_wperturb_crop50": ("W-perturb + crop50", "W-perturb + crop50"),
        },
    ),
    PaperTable(
        "table5b",
        "5b",
        "No expert view: generated and basic ones",
        "CIFAR-100 without colour jitter: basic is a random resized crop and a flip. Generators of this table were "
        "trained with expert transforms on half of their real images.",
        VIEWS,
        {
            "basic_basic_simclr": ("basic", "basic", NONE, "SimCLR"),
            "basic_wsearch_simclr": ("basic", "W-search", NONE, "SimCLR"),
            "basic_basic_wsearch_a2": ("basic", "basic", "W-search", "A2"),
            "wsearch_wsearch_basic_a2": ("W-search", "W-search", "basic", "A2"),
            "basic_wsearch_wsearch_a2": ("basic", "W-search", "W-search", "A2"),
        },
    ),
    PaperTable(
        "table6",
        "6",
        "Cached views or fresh ones",
        "CIFAR-10. A cache holds eight views an image; on the fly every step makes new ones.",
        ("setting", "on the fly"),
        {
            "wperturb_a2_cached": ("W-perturb, A2", "no"),
            "wperturb_a2_on_the_fly": ("W-perturb, A2", "yes"),
            "expert_a2_cached": ("expert, A2", "no"),
            "expert_a2_on_the_fly": ("expert, A2", "yes"),
            "three_view_simclr_on_the_fly": ("three-view SimCLR (A2-full)", "yes"),
        },
    ),
    PaperTable(
        "table7",
        "7",
        "How many views to cache and to draw",
        "CIFAR-10, W-search with A2: views an image in the cache, and how many of them a training step draws.",
        ("cached", "drawn"),
        {
            "cache16_view1": ("16", "1"),
            "cache8_view8": ("8", "8"),
            "cache8_view4": ("8", "4"),
            "cache8_view1": ("8", "1"),
            "cache4_view4": ("4", "4"),
            "cache4_view1": ("4", "1"),
            "cache2_view2": ("2", "2"),
            "cache2_view1": ("2", "1"),
            "cache1_view1": ("1", "1"),
        },
    ),
    PaperTable(
        "table8",
        "8",
        "TinyImageNet, another implementation",
        "The recipe of Ermolov et al.: Adam, its own SimCLR loss. Its 5-NN is Euclidean on un-normalised features, so "
        "ours is too in this table.",
        ("method",),
        {"simclr": ("SimCLR",), "wsearch_a2": ("W-search, A2",)},
        measured_as={"knn5": "knn5_euclidean"},
    ),
    PaperTable(
        "table11",
        "11",
        "Which loss for three views",
        "W-search views. A2-full contrasts all three (Eq. 13); the others add the alignment term, weighted by α, to "
        "SimCLR's loss (Eq. 15) or to InfoNCE (Eq. 4).",
        ("loss",),
        {
            "a2_full": ("A2-full",),
            "a2_simclr_alpha_05": ("A2-SimCLR, α = 0.5",),
            "a2_infonce_alpha_05": ("A2-InfoNCE, α = 0.5",),
            "a2_infonce_alpha_1": ("A2-InfoNCE, α = 1",),
        },
    ),
    PaperTable(
        "table12",
        "12",
        "SimSiam",
        "CIFAR-10. The name before the plus says which encoder the search looked through.",
        ("method",),
        {
            "simsiam_baseline": ("SimSiam",),
            "wsearch_simclr_a2_simsiam": ("W-search through SimCLR, A2-SimSiam",),
            "wsearch_simsiam_a2_simsiam": ("W-search through SimSiam, A2-SimSiam",),
            "wperturb_a2_simsiam": ("W-perturb, A2-SimSiam",),
            "simclr_baseline": ("SimCLR",),
            "wsearch_simsiam_a2_infonce": ("W-search through SimSiam, A2-InfoNCE",),
        },
    ),
    PaperTable(
        "table13",
        "13",
        "How far to search: ε1 with ε2",
        f"CIFAR-10, W-search with A2, λ = 0.01. {PROBE_SPREAD}",
        ("ε1", "ε2"),
        {
            "epsilon1_01": ("0.1", "0.15"),
            "epsilon1_02": ("0.2", "0.35"),
            "epsilon1_03": ("0.3", "0.50"),
            "epsilon1_05": ("0.5", "0.70"),
            "epsilon1_07": ("0.7", "0.90"),
            "epsilon1_09": ("0.9", "1.10"),
        },
    ),
    PaperTable(
        "table14",
        "14",
        "How far to search: ε1 alone",
        f"CIFAR-10, W-search with A2, λ = 0.01. {PROBE_SPREAD}",
        ("ε1", "ε2"),
        {
            "epsilon1_01": ("0.1", "0.15"),
            "epsilon1_02": ("0.2", "0.15"),
            "epsilon1_03": ("0.3", "0.15"),
            "epsilon1_05": ("0.5", "0.15"),
            "epsilon1_07": ("0.7", "0.15"),
        },
    ),
    PaperTable(
        "table15",
        "15",
        "How much uniformity: λ",
        f"CIFAR-10, W-search with A2, ε2 = 0.5. {PROBE_SPREAD}",
        ("ε1", "λ"),
        {
            "lambda_0": ("0.3", "0"),
            "lambda_0005": ("0.3", "0.005"),
            "lambda_001": ("0.3", "0.01"),
            "lambda_002": ("0.3", "0.02"),
        },
    ),
    PaperTable(
        "table16",
        "16",
        "How much noise in W: σ on CIFAR-10",
        f"W-perturb with A2; the last row projects the noise onto a sphere. {PROBE_SPREAD}",
        ("view",),
        {
            "sigma_0": ("e(x)",),
            "sigma_01": ("e(x) + w, w ~ N(0, 0.1)",),
            "sigma_02": ("e(x) + w, w ~ N(0, 0.2)",),
            "sigma_04": ("e(x) + w, w ~ N(0, 0.4)",),
            "sigma_10": ("e(x) + w, w ~ N(0, 1.0)",),
            "projected_sigma_02": ("e(x) + proj(w), w ~ N(0, 0.2)",),
        },
    ),
    PaperTable(
        "table17",
        "17",
        "How much noise in W: σ on CIFAR-100",
        "W-perturb with A2.",
        ("view",),
        {
            "sigma_01": ("e(x) + w, w ~ N(0, 0.1)",),
            "sigma_02": ("e(x) + w, w ~ N(0, 0.2)",),
            "sigma_04": ("e(x) + w, w ~ N(0, 0.4)",),
            "sigma_10": ("e(x) + w, w ~ N(0, 1.0)",),
        },
    ),
    PaperTable(
        "table18",
        "18",
        "What else could be appended",
        f"CIFAR-10, A2. {PROBE_SPREAD}",
        ("appended view",),
        {
            "reconstruction": ("reconstruction g∘e(x)",),
            "sgd": ("W-search by SGD",),
            "one_step": ("W-search, one step",),
            "two_step": ("W-search, two steps",),
            "original": ("the image itself",),
        },
    ),
    PaperTable(
        "table19",
        "19",
        "More ways to do without expert views",
        "CIFAR-100. “-aug” marks generators that were trained with expert transforms on half of their real images.",
        ("row", *VIEWS),
        {
            "basic_basic_simclr": ("1", "basic", "basic", NONE, "SimCLR"),
            "basic_basic_basic_a2": ("2", "basic", "basic", "basic", "A2"),
            "basic_basic_basic_a2_full": ("3", "basic", "basic", "basic", "A2-full"),
            "basic_basic_wsearch_aug_a2": ("4", "basic", "basic", "W-search-aug", "A2"),
            "basic_basic_wsearch_aug_a2_full": ("5", "basic", "basic", "W-search-aug", "A2-full"),
            "basic_wsearch_aug_simclr": ("6", "basic", "W-search-aug", NONE, "SimCLR"),
            "wsearch_aug_wsearch_aug_wsearch_aug_a2": ("7", "W-search-aug", "W-search-aug", "W-search-aug", "A2"),
            "wsearch_aug_wsearch_aug_wsearch_aug_a2_full": (
                *("8", "W-search-aug", "W-search-aug", "W-search-aug", "A2-full"),
            ),
            "wsearch_aug_wsearch_aug_simclr": ("9", "W-search-aug", "W-search-aug", NONE, "SimCLR"),
            "wsearch_wsearch_simclr": ("10", "W-search", "W-search", NONE, "SimCLR"),
        },
    ),
)

# Rows that are one run under several names, on the data sets that the paper has for both: one identity, so the same
# artifacts and the same result. A test composes each and compares.
SAME_RUNS = (
    ("table3/expert_expert_simclr", "table12/simclr_baseline"),
    ("table3/expert_expert_expert_a2", "table6/expert_a2_cached"),
    (
        *("table3/expert_expert_wsearch_a2", "table7/cache8_view1", "table11/a2_infonce_alpha_05"),
        *("table13/epsilon1_03", "table15/lambda_001"),
    ),
    ("table3/expert_expert_wperturb_a2", "table6/wperturb_a2_cached", "table16/sigma_02", "table17/sigma_02"),
    ("table5a/wsearch_wsearch", "table19/wsearch_aug_wsearch_aug_simclr"),
    ("table5b/basic_basic_simclr", "table19/basic_basic_simclr"),
    ("table5b/basic_wsearch_simclr", "table19/basic_wsearch_aug_simclr"),
    ("table5b/basic_basic_wsearch_a2", "table19/basic_basic_wsearch_aug_a2"),
    ("table13/epsilon1_01", "table14/epsilon1_01"),
    ("table16/sigma_0", "table18/reconstruction"),
)


def same_runs(row: str) -> tuple[str, ...]:
    """Other names of a row's run."""
    return tuple(name for group in SAME_RUNS if row in group for name in group if name != row)


def names_of_ours(row: str) -> Mapping[str, str]:
    """A metric as a row's table names it to ours that is like it, where the names differ (Table 8's 5-NN)."""
    group = row.partition("/")[0]
    return next((table.measured_as for table in TABLES if table.group == group), {})


def row_title(row: str) -> str:
    """ "Table 3: expert, expert, W-search, A2", from "table3/expert_expert_wsearch_a2"."""
    group, _, name = row.partition("/")
    table = next((table for table in TABLES if table.group == group), None)
    if table is None:
        return row
    labels = [label for label in table.labels_of(name) if label and label != NONE]
    return f"Table {table.number}: {', '.join(labels)}"
