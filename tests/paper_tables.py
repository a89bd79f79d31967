"""Printed numbers of every table of the paper with rows to run, typed from the paper; nothing reads experiments/."""

from typing import Any

C10, C100, TINY, FAKE = "cifar10", "cifar100", "tinyimagenet", "imagenet_fake"
Numbers = dict[str, dict[str, Any]]

# Table: (data sets, metrics, {row: numbers}). Numbers of a row: data sets separated by "|", metrics by blanks.
PAPER: dict[str, tuple[tuple[str, ...], tuple[str, ...], dict[str, str]]] = {
    "table1": ((C10, C100), ("mi", "inner_product"), {
        "original_expert": "4.14 .973 | 5.41 .986",
        "original_wsearch": "4.13 .907 | 4.40 .867",
        "wsearch_expert": "3.78 .888 | 4.35 .859",
        "original_wperturb": "3.79 .849 | 3.91 .796",
        "wperturb_expert": "3.66 .832 | 3.86 .789",
    }),
    "table3": ((C10, C100, TINY), ("acc1",), {
        "expert_expert_simclr": "92.04 | 70.41 | 47.48",
        "expert_wsearch_a1": "91.86 | 71.69 | 51.08",
        "expert_wperturb_a1": "91.09 | 70.83 | 50.18",
        "expert_viewmaker_a1": "82.91 | 41.87 | 26.40",
        "viewmaker_viewmaker_simclr": "83.59 | 44.04 | 40.53",
        "expert_expert_expert_a2": "91.46 | 70.76 | 47.19",
        "expert_expert_wsearch_a2": "92.90 | 72.76 | 51.05",
        "expert_expert_wperturb_a2": "92.38 | 72.95 | 50.73",
        "expert_expert_viewmaker_a2": "80.07 | 36.51 | 25.30",
    }),
    "table4": ((FAKE,), ("acc1",), {
        "expert_expert_simclr": "49.93",
        "expert_wperturb_a1": "48.81",
        "expert_expert_wperturb_a2": "51.42",
    }),
    "table5a": ((C100,), ("acc1", "knn5"), {
        "wsearch_wsearch": "57.65 50.61",
        "wsearch_crop90_wsearch_crop90": "62.93 54.38",
        "wsearch_crop70_wsearch_crop70": "66.47 58.72",
        "wsearch_crop50_wsearch_crop50": "66.64 59.44",
        "wsearch_basic_wsearch_basic": "65.91 58.38",
        "wperturb_crop50_wperturb_crop50": "55.87 44.74",
    }),
    "table5b": ((C100,), ("acc1", "knn5"), {
        "basic_basic_simclr": "47.61 35.86",
        "basic_wsearch_simclr": "69.19 62.36",
        "basic_basic_wsearch_a2": "69.55 63.65",
        "wsearch_wsearch_basic_a2": "67.65 60.84",
        "basic_wsearch_wsearch_a2": "69.05 62.33",
    }),
    "table6": ((C10,), ("acc1", "knn5"), {
        "wperturb_a2_cached": "92.38 90.53",
        "wperturb_a2_on_the_fly": "92.64 90.76",
        "expert_a2_cached": "91.46 90.43",
        "expert_a2_on_the_fly": "92.19 90.98",
        "three_view_simclr_on_the_fly": "91.84 90.70",
    }),
    "table7": ((C10,), ("acc1", "knn5"), {
        "cache16_view1": "92.65 90.86",
        "cache8_view8": "92.40 91.11",
        "cache8_view4": "92.07 91.03",
        "cache8_view1": "92.90 90.95",
        "cache4_view4": "92.42 91.05",
        "cache4_view1": "92.23 90.40",
        "cache2_view2": "92.35 90.85",
        "cache2_view1": "92.59 91.06",
        "cache1_view1": "92.25 90.98",
    }),
    "table8": ((TINY,), ("acc1", "acc5", "knn5"), {
        "simclr": "48.50 74.51 32.83",
        "wsearch_a2": "51.30 77.17 36.90",
    }),
    "table11": ((C10, C100), ("acc1", "knn5"), {
        "a2_full": "92.57 91.57 | 71.82 66.06",
        "a2_simclr_alpha_05": "92.66 91.05 | 72.27 65.85",
        "a2_infonce_alpha_05": "92.90 90.95 | 72.76 66.46",
        "a2_infonce_alpha_1": "92.54 90.80 | 72.61 66.96",
    }),
    "table12": ((C10,), ("acc1", "knn5"), {
        "simsiam_baseline": "90.17 89.27",
        "wsearch_simclr_a2_simsiam": "90.96 89.81",
        "wsearch_simsiam_a2_simsiam": "90.79 89.82",
        "wperturb_a2_simsiam": "90.28 89.99",
        "simclr_baseline": "92.04 90.65",
        "wsearch_simsiam_a2_infonce": "92.44 90.88",
    }),
    "table13": ((C10,), ("acc1",), {
        "epsilon1_01": "92.584±0.023",
        "epsilon1_02": "92.615±0.048",
        "epsilon1_03": "92.898±0.045",
        "epsilon1_05": "92.451±0.053",
        "epsilon1_07": "91.760±0.032",
        "epsilon1_09": "91.561±0.051",
    }),
    "table14": ((C10,), ("acc1",), {
        "epsilon1_01": "92.584±0.023",
        "epsilon1_02": "92.385±0.043",
        "epsilon1_03": "92.643±0.043",
        "epsilon1_05": "92.455±0.032",
        "epsilon1_07": "92.174±0.029",
    }),
    "table15": ((C10,), ("acc1",), {
        "lambda_0": "92.555±0.028",
        "lambda_0005": "92.756±0.042",
        "lambda_001": "92.898±0.045",
        "lambda_002": "92.854±0.027",
    }),
    "table16": ((C10,), ("acc1",), {
        "sigma_0": "91.697±0.038",
        "sigma_01": "92.297±0.024",
        "sigma_02": "92.383±0.033",
        "sigma_04": "91.852±0.030",
        "sigma_10": "87.893±0.026",
        "projected_sigma_02": "92.479±0.055",
    }),
    "table17": ((C100,), ("acc1", "knn5"), {
        "sigma_01": "71.84 66.33",
        "sigma_02": "72.95 66.60",
        "sigma_04": "71.69 65.33",
        "sigma_10": "68.05 61.06",
    }),
    "table18": ((C10,), ("acc1",), {
        "reconstruction": "91.697±0.038",
        "sgd": "91.674±0.045",
        "one_step": "92.467±0.029",
        "two_step": "92.359±0.018",
        "original": "91.936±0.017",
    }),
    "table19": ((C100,), ("acc1", "knn5"), {
        "basic_basic_simclr": "47.61 35.86",
        "basic_basic_basic_a2": "49.35 38.03",
        "basic_basic_basic_a2_full": "44.64 34.18",
        "basic_basic_wsearch_aug_a2": "69.55 63.65",
        "basic_basic_wsearch_aug_a2_full": "69.16 63.15",
        "basic_wsearch_aug_simclr": "69.19 62.36",
        "wsearch_aug_wsearch_aug_wsearch_aug_a2": "62.80 53.26",
        "wsearch_aug_wsearch_aug_wsearch_aug_a2_full": "61.17 52.09",
        "wsearch_aug_wsearch_aug_simclr": "57.65 49.27",
        "wsearch_wsearch_simclr": "47.50 37.54",
    }),
}  # fmt: skip


def numbers(table: str, row: str) -> Numbers:
    """{data set: {metric: number, or {"mean": …, "std": …}}} of one printed row."""
    datasets, metrics, rows = PAPER[table]
    result: Numbers = {}
    for dataset, cell in zip(datasets, rows[row].split("|"), strict=True):
        values = [
            float(word) if "±" not in word else dict(zip(("mean", "std"), map(float, word.split("±")), strict=True))
            for word in cell.split()
        ]
        result[dataset] = dict(zip(metrics, values, strict=True))
    return result


def cells() -> list[tuple[str, str, str]]:
    """(table, row, data set) of every cell."""
    return [
        (table, row, dataset) for table, (datasets, _, rows) in PAPER.items() for row in rows for dataset in datasets
    ]
