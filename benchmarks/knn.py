"""k-NN accuracy against the bare product of queries and bank, and against scikit-learn.

python benchmarks/knn.py
"""

import argparse
import warnings

import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier

from assimilate.probes.knn import knn_predict
from pairs import medians, overheads, report, speedups, time_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bank", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--pairs-scikit-learn", type=int, default=15)
    arguments = parser.parse_args()
    rng = torch.Generator().manual_seed(0)
    # Ten blurred classes: features of a trained encoder are no white noise.
    centres = torch.randn(10, arguments.dim, generator=rng)
    labels, truth = (torch.randint(0, 10, (n,), generator=rng) for n in (arguments.bank, arguments.queries))
    bank, queries = (
        F.normalize(centres[y] + 2 * torch.randn(len(y), arguments.dim, generator=rng), dim=1) for y in (labels, truth)
    )
    # The product alone, in pieces and one buffer: faster than the whole matrix at once.
    rows = min(len(queries), max(1, 2**24 // len(bank)))
    buffer = bank.new_empty(rows, len(bank))

    def product() -> None:
        for start in range(0, len(queries), rows):
            piece = queries[start : start + rows]
            torch.mm(piece, bank.T, out=buffer[: len(piece)])

    for k, weighting, at_most in ((5, "majority", 1.15), (200, "exponential", 1.35)):

        def ours(k: int = k, weighting: str = weighting) -> torch.Tensor:
            return knn_predict(bank, labels, queries, k=k, weighting=weighting, num_classes=10)

        shape = f"{len(queries)} x {len(bank)} x {arguments.dim}"
        timed = time_pairs(ours, product, pairs=arguments.pairs)
        report(f"knn/k{k}_vs_product", overheads(timed), at_most=at_most, shape=shape, **medians(timed))

    theirs = KNeighborsClassifier(5, algorithm="brute", metric="cosine").fit(bank.numpy(), labels.numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agree = (knn_predict(bank, labels, queries, k=5) == torch.from_numpy(theirs.predict(queries.numpy()))).float()
        timed = time_pairs(
            lambda: knn_predict(bank, labels, queries, k=5), lambda: theirs.predict(queries.numpy()),
            pairs=arguments.pairs_scikit_learn, warmup=1,
        )  # fmt: skip
    # They differ in votes that tie and in distances that round differently.
    report("knn/k5_vs_scikit_learn", speedups(timed), agreement=float(agree.mean()), **medians(timed))


if __name__ == "__main__":
    main()
