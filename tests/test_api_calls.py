"""What the functions of `import assimilate` compute and refuse, on tensors and files of one's own."""

import numpy as np
import pytest
import torch

import assimilate
from assimilate.data.images import ImageArrays
from assimilate.encoder.encoder import Encoder, EncoderSpec
from assimilate.generator.bigbigan import load_bigbigan
from tests.views.worlds import CODES, DIM, LinearGenerator, linear_embedding

pytestmark = pytest.mark.xdist_group("chain")


def random_images(count: int, size: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def test_losses_against_a_loop():
    rng = torch.Generator().manual_seed(0)
    z1, z2, z3 = (torch.randn(5, 4, generator=rng, dtype=torch.float64) for _ in range(3))
    u1, u2, u3 = ((z / z.norm(dim=1, keepdim=True)).tolist() for z in (z1, z2, z3))

    def dot(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True))

    total = aligned = 0.0
    for i in range(5):
        for own, other in ((u1, u2), (u2, u1)):
            keys = [np.exp(dot(own[i], other[j]) / 0.5) for j in range(5)]
            total -= np.log(keys[i] / sum(keys)) / 10
            aligned += 0.5 / 0.5 * dot(own[i], u3[i]) / 10
    assert float(assimilate.info_nce(z1, z2)) == pytest.approx(total, abs=1e-12)
    assert float(assimilate.alignment([z1, z2], [z3])) == pytest.approx(aligned, abs=1e-12)
    terms = assimilate.InfoNCE().terms([z1, z2, z3], assimilate.Alignment())
    assert float(terms.total) == pytest.approx(total - aligned, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda z: assimilate.info_nce(z, z[:3]), r"the views are \(5, 4\), \(3, 4\); needed is \[batch, dim\]"),
        (lambda z: assimilate.nt_xent(z[0], z[0]), r"needed is \[batch, dim\]"),
        (lambda z: assimilate.multi_view_nt_xent([z]), "at least two views, got 1"),
        (lambda z: assimilate.alignment([z], []), "at least one anchor and one appended view"),
        (lambda z: assimilate.alignment([z], [z[:, :2]]), r"needed is \[batch, dim\]"),
        (lambda z: assimilate.InfoNCE().terms([z]), "at least two views, got 1"),
    ],
)
def test_embeddings_of_other_shapes_are_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call(torch.ones(5, 4))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: assimilate.ImageArrays(np.zeros((2, 8, 8, 3), np.uint8)), r"images are uint8 \[2, 8, 8, 3\]; needed"),
        (lambda: assimilate.ImageArrays(np.zeros((2, 3, 8, 8))), r"images are float64 .*; needed is uint8"),
        (lambda: assimilate.ImageArrays(np.zeros((2, 3, 8, 8), np.uint8), np.zeros(3, np.int64)), r"int64 \[2\]"),
        (lambda: assimilate.CachedViews(np.zeros((2, 3, 8, 8), np.uint8)), r"needed is uint8 \[N, n, 3, height, width"),
        (lambda: assimilate.CachedViews(np.zeros((2, 1, 3, 8, 8), np.uint8), num_used=2), "holds 1 view of each"),
    ],
)
def test_arrays_of_another_kind_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize("transform", [assimilate.ExpertAugmentation(8), assimilate.make_transform("crop50", 8)])
def test_augmentations_draw_from_the_global_generator_unless_given_one(transform):
    images = random_images(6)
    torch.manual_seed(3)
    first, second = transform(images), transform(images)
    assert first.shape == (6, 3, 8, 8)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(transform(images), first)
    assert torch.equal(transform(images, torch.Generator().manual_seed(3)), first)


def test_searched_views_are_where_they_were_asked_for():
    """In a world where f and g are linear, against distances computed from scratch in float64."""
    generator, f = LinearGenerator(), linear_embedding()
    codes = torch.randn(3, CODES, DIM, generator=torch.Generator().manual_seed(1))
    found = assimilate.search_views(
        generator, f, codes, epsilon1=0.3, num_views=2, tolerance=None, tolerance_relative=0.02, initial_noise=0.05
    )
    assert found.images.shape == (3, 2, 3, 8, 8)
    assert found.latents.shape == (3, 2, CODES, DIM)
    assert bool(found.converged.all())

    def seen(image):
        z = image.double().flatten() @ f.encoder.projection.double()
        return z / z.norm()

    for anchor in range(3):
        reconstruction = generator.synthesize(codes[anchor : anchor + 1]).clamp(-1, 1)[0]
        for view in range(2):
            distance = (seen(found.images[anchor, view] / 127.5 - 1) - seen(reconstruction)).norm()
            assert float(found.distances[anchor, view]) == pytest.approx(float(distance), abs=1e-5)
            assert float(distance) == pytest.approx(0.3, rel=0.08)
    with pytest.raises(ValueError, match=rf"codes are \[3, 1, {DIM}\]; the generator's are \[N, {CODES}, {DIM}\]"):
        assimilate.search_views(generator, f, codes[:, :1], epsilon1=0.3)
    with pytest.raises(TypeError, match="iteration"):
        assimilate.search_views(generator, f, codes, epsilon1=0.3, iteration=3)


def test_moved_codes_are_noise_or_a_mixture():
    generator, codes = LinearGenerator(), torch.zeros(4000, CODES, DIM)
    moved = assimilate.move_codes(generator, codes, assimilate.Perturbation(sigma=(0.2, 0.0)))
    assert float(moved[:, 0].std()) == pytest.approx(0.2, rel=0.05)
    assert not moved[:, 1].any()
    rng = torch.Generator().manual_seed(2)
    mixed = assimilate.move_codes(generator, codes[:3] + 7, assimilate.Mixing(split=1), rng)
    assert bool((mixed[:, 0] == 7).all())
    assert torch.equal(mixed[:, 1], torch.randn(3, DIM, generator=torch.Generator().manual_seed(2)))


def test_generators_by_their_files(tmp_path, chain, bigbigan_file):
    (run,) = assimilate.runs(chain)
    by_run, by_file = (assimilate.load_generator(source) for source in (run, run.generator.path / "generator.pt"))
    codes = assimilate.draw_codes(by_run, range(3))
    assert codes.shape == (3, by_run.num_codes, by_run.latent_dim)
    assert by_run.truncation == run.config["generator"]["truncation"]
    assert torch.equal(by_run.synthesize(codes), by_file.synthesize(codes))
    assert assimilate.load_generator(run, truncation=0.4).truncation == 0.4
    loaded = assimilate.load_generator(bigbigan_file)
    latents = torch.randn(2, loaded.latent_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = load_bigbigan(bigbigan_file)(latents)
    torch.testing.assert_close(loaded.synthesize(latents[:, None]), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="no such file"):
        assimilate.load_generator(tmp_path / "absent.pt")
    with pytest.raises(ValueError, match=f"holds no generator.pt; it has {bigbigan_file.name}"):
        assimilate.load_generator(bigbigan_file.parent)


def test_an_encoder_of_another_program(tmp_path):
    backbone = assimilate.make_backbone("resnet18", width=4)
    torch.save({"state_dict": backbone.state_dict()}, tmp_path / "theirs.pth")
    loaded = assimilate.load_encoder(tmp_path / "theirs.pth")
    images = random_images(4)
    with torch.no_grad():
        expected = backbone.eval()(images / 255)
    torch.testing.assert_close(assimilate.extract_features(loaded, images), expected)
    with pytest.raises(FileNotFoundError):
        assimilate.load_encoder(tmp_path / "absent.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other.pt holds no ResNet in torchvision's layout"):
        assimilate.load_encoder(tmp_path / "other.pt")


def test_probes_take_images_or_features_and_the_normalisation_of_the_encoder():
    encoder = assimilate.freeze(Encoder.from_spec(EncoderSpec(width=4, projector="linear", output_dim=4)))
    encoder.mean, encoder.std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    labels = np.arange(24, dtype=np.int64) % 3
    train, test = (ImageArrays(random_images(24, seed=seed).numpy(), labels) for seed in (0, 1))
    bank, queries = (assimilate.extract_features(encoder, part) for part in (train, test))
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (encoder.mean, encoder.std))
    expected = encoder.features((torch.tensor(train.images) / 255 - mean) / std)
    torch.testing.assert_close(bank, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(assimilate.extract_features(encoder, train.images), bank)
    assert torch.equal(assimilate.extract_features(encoder, torch.tensor(train.images)), bank)
    y = torch.tensor(labels)
    settings = {"preset": "htdt", "num_epochs": 3, "batch_size": 8, "seeds": (0, 1)}
    on_images = assimilate.linear_probe(encoder, train, test, **settings)
    on_features = assimilate.linear_probe_on_features(bank, y, queries, y, **settings)
    assert torch.equal(on_images.weight, on_features.weight)
    assert on_images.values == on_features.values
    assert on_features.label == on_images.label + "; on features as they were given"
    right = 0
    for query, label in zip(queries.double(), labels, strict=True):
        cosines = torch.nn.functional.cosine_similarity(query[None], bank.double())
        nearest = labels[cosines.argsort(descending=True, stable=True)[:5].numpy()]
        right += int(np.bincount(nearest, minlength=3).argmax() == label)
    assert assimilate.knn_accuracy(bank, y, queries, y) == pytest.approx(100 * right / 24)
    with pytest.raises(ValueError, match=r"labels \[n\] and \[m\]"):
        assimilate.linear_probe_on_features(bank, y[:3], queries, y)
