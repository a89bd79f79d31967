"""The whole chain at the smoke budget, through the commands that users type."""

import json
import os
import shutil
import signal
import time
from collections import Counter

import numpy as np
import pytest
import torch

from assimilate import invert, make_views, train, train_generator
from assimilate.jobs.terminal import _Bar
from tests.chain_run import SLURM, SMOKE, artifacts, results, run, stamps
from tests.warm_process import WarmProcess

pytestmark = pytest.mark.xdist_group("chain")


# ------------------------------------------------------------------------------------------------ preemption


def test_a_run_that_is_preempted_in_every_stage_equals_one_that_was_left_alone(chain, tmp_path, monkeypatch, capsys):
    """SIGUSR1 at the third progress report of each stage, under SLURM's variables."""
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    report, reports = _Bar.update, Counter()

    def preempting(self, done, total, values):
        reports[self._title] += 1
        if reports[self._title] == 3:
            os.kill(os.getpid(), signal.SIGUSR1)
        report(self, done, total, values)

    monkeypatch.setattr(_Bar, "update", preempting)
    out = tmp_path / "out"
    codes = [run(train, f"out={out}")]
    while codes[-1] == 138:
        codes.append(run(train, f"out={out}"))
    preempted = [title for title, count in reports.items() if count >= 3]
    assert codes == [*[138] * len(preempted), 0]
    assert {title.split()[0] for title in preempted} >= {"Training", "Optimising", "Making", "Probing"}, preempted
    assert capsys.readouterr().err.count("terminated; the same command resumes") == len(preempted)
    (left_alone,), (again,) = results(chain), results(out)
    assert json.loads(left_alone.read_text())["metrics"] == json.loads(again.read_text())["metrics"]

    def names(folder):
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))

    assert names(out) == names(chain)


# ------------------------------------------------------------------------------------------------ what a run leaves


def test_every_kind_of_artifact_once(chain):
    counts = {
        kind: len(artifacts(chain, kind)) for kind in ("datasets", "generators", "latents", "calibrations", "views")
    }
    assert set(counts.values()) == {1}
    assert len(artifacts(chain, "encoders")) == 2  # f and the run's own
    assert not list(chain.rglob("*.partial"))


def test_metrics_say_what_was_measured(chain):
    (path,) = results(chain)
    assert path.parent.name == "seed0"
    assert path.is_relative_to(chain / "smoke" / "adhoc")
    result = json.loads(path.read_text())
    assert (result["dataset"], result["seed"], result["budget"], result["row"]) == ("digits", 0, "smoke", None)
    assert result["overrides"][0] == "budget=smoke"
    for metric in ("acc1", "acc5", "knn5", "knn5_euclidean"):
        cell = result["metrics"][metric]
        assert set(cell) == {"mean", "std", "n", "values"}
        assert cell["mean"] == pytest.approx(np.mean(cell["values"]))
        assert 0 <= cell["mean"] <= 100
        assert result["protocols"][metric]
    assert result["metrics"]["acc1"]["n"] == 5
    assert [epoch for epoch, _ in result["knn_curve"]] == [0, 1, 2]
    assert result["baseline"]["metrics"]["acc1"]["n"] == 5
    assert "torch" in result["versions"]
    assert all(seconds >= 0 for seconds in result["seconds"].values())


def test_cache_is_what_the_contract_says(chain):
    (views,) = artifacts(chain, "views")
    images = np.load(views / "images.npy", mmap_mode="r")
    assert images.shape == (128, 2, 3, 16, 16)
    assert images.dtype == np.uint8
    assert np.load(views / "distances.npy").shape == (128, 2)
    assert np.load(views / "distances.npy").dtype == np.float32
    assert np.load(views / "distances_original.npy").shape == (128, 2)
    assert np.load(views / "done.npy").all()
    assert json.loads((views / "manifest.json").read_text())["content"]["anchor"] == "reconstruction"


@pytest.mark.parametrize("has", [True, False])
def test_a_brought_generator_says_whether_its_discriminators_adam_goes_on(copy, capsys, tmp_path, has):
    """A foreign checkpoint may have been stripped of its optimisers: that is said, and recorded."""
    from assimilate.generator.checkpoint import read_checkpoint

    (generator,) = artifacts(copy, "generators")
    content = read_checkpoint(generator / "generator.pt", key="test")
    if not has:
        del content["d_optim"]
    torch.save(content, tmp_path / "foreign.pt")
    assert run(invert, f"generator.checkpoint={tmp_path}/foreign.pt", f"out={copy}") == 0
    assert capsys.readouterr().out.count("without d_optim, so the discriminator's Adam begins anew") == (not has)
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in artifacts(copy, "latents")]
    (brought,) = (each for each in manifests if "/imported-" in each["parents"]["generator"]["path"])
    assert brought["facts"]["discriminator_optimizer"] == ("continued" if has else "new")


def test_stored_distances_are_those_of_the_stored_pixels(chain):
    """From the files alone: reload f and g, recompute every distance."""
    from assimilate.encoder.checkpoint import load_encoder
    from assimilate.generator.checkpoint import load_stylegan2, read_checkpoint
    from assimilate.generator.truncated import TruncatedStyleGAN2

    (views,), (latents,), (generator,) = (artifacts(chain, kind) for kind in ("views", "latents", "generators"))
    inverting = read_checkpoint(latents / "encoder.pt", key="test")
    assert {"e", "d", "e_optim", "d_optim", "args"} <= inverting.keys()  # PROTOCOLS 5
    assert inverting["step"] == 12
    # The discriminator's Adam went on from the GAN's: its steps count from there, at its rate.
    gan, went_on = read_checkpoint(generator / "generator.pt", key="test")["d_optim"], inverting["d_optim"]
    assert went_on["param_groups"][0]["lr"] == gan["param_groups"][0]["lr"]
    assert float(went_on["state"][0]["step"]) == float(gan["state"][0]["step"]) + 12 + 1  # one of them with R1
    assert json.loads((latents / "manifest.json").read_text())["facts"]["discriminator_optimizer"] == "continued"
    parent = json.loads((views / "manifest.json").read_text())["parents"]["reference"]["path"]
    encoder = load_encoder(chain / "artifacts" / parent / "encoder.pt")
    g = TruncatedStyleGAN2.from_state(load_stylegan2(generator / "generator.pt"), truncation=0.7)

    def f(images):
        normalised = images.float() / 255 - torch.tensor(encoder.mean).view(3, 1, 1)
        normalised /= torch.tensor(encoder.std).view(3, 1, 1)
        return torch.nn.functional.normalize(encoder(normalised), dim=1)

    with torch.no_grad():
        codes = torch.from_numpy(np.load(latents / "latents.npy"))
        anchors = f(((g.synthesize(codes).clamp(-1, 1) + 1) / 2) * 255)
        stored = torch.from_numpy(np.load(views / "images.npy"))
        seen = f(stored.flatten(0, 1)).unflatten(0, stored.shape[:2])
    distances = torch.linalg.vector_norm(seen - anchors[:, None], dim=2)
    torch.testing.assert_close(distances, torch.from_numpy(np.load(views / "distances.npy")), rtol=0, atol=1e-4)


def test_report_is_self_contained(chain):
    (page,) = chain.rglob("report.html")
    text = page.read_text()
    assert "budget=smoke: not comparable with the paper" in text
    assert text.count("data:image/png;base64,") >= 2
    assert text.count("<svg") >= 3
    outside = [part.split('"')[0] for part in text.split('src="')[1:] if not part.startswith("data:")]
    assert not outside
    assert "<link" not in text
    assert "<script src" not in text


# ------------------------------------------------------------------------------------------------ reuse


def test_the_same_command_again_builds_nothing(copy, capsys):
    before = stamps(copy)
    assert run(train, f"out={copy}") == 0
    shown = capsys.readouterr().out
    assert "built:  nothing" in shown
    assert "reused:" in shown
    for kind in ("generators", "latents", "encoders", "views"):
        assert f"{kind}/digits/" in shown
    assert stamps(copy) == before


def test_a1_reuses_everything_upstream_and_only_trains(copy):
    before = stamps(copy)
    assert run(train, "assim=a1", f"out={copy}") == 0
    assert {path: time for path, time in stamps(copy).items() if path in before} == before
    assert len(artifacts(copy, "encoders")) == 3
    assert len(artifacts(copy, "views")) == 1
    assert len(results(copy)) == 2


def test_another_epsilon_rebuilds_only_the_views(copy):
    assert run(make_views, "view.epsilon1=0.2", f"out={copy}") == 0
    assert len(artifacts(copy, "views")) == 2
    for kind, count in {"generators": 1, "latents": 1, "encoders": 2, "calibrations": 1}.items():
        assert len(artifacts(copy, kind)) == count


def test_simclr_run_is_f(copy):
    assert run(train, "assim=simclr", f"out={copy}") == 0
    assert len(artifacts(copy, "encoders")) == 2
    assert len(results(copy)) == 2


def test_simclr_of_another_seed_is_not(copy):
    assert run(train, "assim=simclr", "seed=1", f"out={copy}") == 0
    assert len(artifacts(copy, "encoders")) == 3


def test_plan_builds_nothing(tmp_path, chain, capsys):
    before = stamps(chain)
    assert run(train, "assim=a1", "prepare=plan", f"out={chain}") == 0
    shown = capsys.readouterr().out
    assert shown.count("  exists  ") >= 6
    assert shown.count("  build   ") == 2
    assert stamps(chain) == before
    assert run(train, "prepare=plan", f"out={tmp_path}") == 0
    assert "in all about" in capsys.readouterr().out
    assert not list(tmp_path.rglob("manifest.json"))


def test_never_names_the_command(tmp_path, capsys):
    assert run(train, "prepare=never", f"out={tmp_path}") == 2
    assert "python -m assimilate.prepare_data budget=smoke" in capsys.readouterr().err


def test_never_names_the_missing_stage(copy, capsys):
    shutil.rmtree(artifacts(copy, "views")[0])
    assert run(train, "prepare=never", f"out={copy}") == 2
    error = capsys.readouterr().err
    assert "views/digits/wsearch" in error
    assert f"python -m assimilate.make_views budget=smoke trainer=cpu trainer.num_threads=1 out={copy}" in error


def test_only_stops_before_the_run(tmp_path):
    assert run(train_generator, f"out={tmp_path}") == 0
    assert run(train, "prepare=only", "assim=simclr", f"out={tmp_path}") == 0
    assert not artifacts(tmp_path, "encoders")
    assert not results(tmp_path)


# ------------------------------------------------------------------------------------------------ harm


def test_truncated_artifact_is_rebuilt_and_warned_of_once(copy, capsys):
    (generator,) = artifacts(copy, "generators")
    weights = generator / "generator.pt"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert run(train, f"out={copy}") == 0
    assert capsys.readouterr().out.count("is damaged") == 1
    assert [path.name for path in generator.parent.glob("*.corrupt")] == [generator.name + ".corrupt"]
    # The same bytes were built again, so nothing that was made from them had to be.
    assert run(train, f"out={copy}") == 0
    shown = capsys.readouterr().out
    assert "is damaged" not in shown
    assert "built:  nothing" in shown


def test_truncated_artifact_is_an_error_under_never(copy, capsys):
    (views,) = artifacts(copy, "views")
    (views / "images.npy").write_bytes((views / "images.npy").read_bytes()[:-1])
    assert run(train, "prepare=never", f"out={copy}") == 2
    assert "is damaged: images.npy has" in capsys.readouterr().err


def test_force_trains_again_and_only_the_run_itself(copy):
    before = stamps(copy)
    assert run(train, "force=true", f"out={copy}") == 0
    changed = {path for path, time in stamps(copy).items() if before.get(path) != time}
    assert changed
    assert all("/encoders/digits/a2-wsearch" in path or "/probes/digits/a2-wsearch" in path for path in changed)
    assert run(train, "force=true", "prepare=never", f"out={copy}") == 2
    assert len(results(copy)) == 1


def test_a_finished_result_is_not_written_again(copy):
    (path,) = results(copy)
    before = path.stat().st_mtime_ns
    assert run(train, f"out={copy}") == 0
    assert path.stat().st_mtime_ns == before


def test_pictures_are_drawn_again_only_where_they_would_change(copy):
    (result,) = results(copy)
    pictures = sorted((result.parent / "pictures").iterdir())
    assert len(pictures) == 5

    def drawn_by_the_same_command():
        before = {path: path.stat().st_mtime_ns for path in pictures}
        assert run(train, f"out={copy}") == 0
        return {path.name for path in pictures if path.stat().st_mtime_ns != before[path]}

    everything, right = {path.name for path in pictures}, {path: path.read_bytes() for path in pictures}
    assert drawn_by_the_same_command() == set()
    pictures[0].write_bytes(b"damaged")
    assert drawn_by_the_same_command() == everything
    assert {path: path.read_bytes() for path in pictures} == right
    listed = result.parent / "pictures" / "pictures.json"
    listed.write_text(listed.read_text().replace('"made_from": {', '"made_from": {"views/of-others": "0", '))
    assert drawn_by_the_same_command() == everything


def test_a_monitor_is_no_part_of_a_run(copy):
    assert run(train, "knn.every_n_epochs=0", f"out={copy}") == 0
    assert len(results(copy)) == 1
    assert len(artifacts(copy, "encoders")) == 2


def test_verify_finds_a_flipped_byte(copy, capsys):
    assert run(make_views, "verify=true", f"out={copy}") == 0
    assert "verified" in capsys.readouterr().out
    (views,) = artifacts(copy, "views")
    content = bytearray((views / "images.npy").read_bytes())
    content[-1] ^= 1
    (views / "images.npy").write_bytes(content)
    assert run(make_views, "verify=true", f"out={copy}") == 2
    assert "images.npy does not match its checksum" in capsys.readouterr().err
    assert views.is_dir()


def test_an_own_encoder_takes_the_place_of_f(copy):
    encoder = next(path for path in artifacts(copy, "encoders") if path.name.startswith("simclr"))
    assert run(make_views, f"view.encoder.checkpoint={encoder / 'encoder.pt'}", f"out={copy}") == 0
    first, second = (np.load(path / "images.npy") for path in artifacts(copy, "views"))
    assert np.array_equal(first, second)
    (copy / "garbage").write_text("garbage")
    assert run(make_views, f"view.encoder.checkpoint={copy / 'garbage'}", f"out={copy}") == 2


def test_a_folder_of_another_identity_is_refused(copy, capsys):
    identity = next(copy.rglob("identity.json"))
    found = json.loads(identity.read_text())
    found["encoder"]["alignment"]["alpha"] = 9
    identity.write_text(json.dumps(found))
    assert run(train, f"out={copy}") == 2
    assert "encoder.alignment.alpha: 9 there" in capsys.readouterr().err


def test_kill_while_making_views_then_the_same_command_completes(copy, chain):
    (views,) = artifacts(copy, "views")
    shutil.rmtree(views)
    staging = views.with_name(views.name + ".partial")
    slow = "import assimilate.data.row_writer as c; c.FLUSH_EVERY = 1"
    process = WarmProcess("assimilate.make_views", [*SMOKE, f"out={copy}"], before=slow)
    for _ in range(6000):
        if (staging / "done.npy").is_file() and np.load(staging / "done.npy").any():
            break
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = np.load(staging / "done.npy").astype(bool)
    assert 0 < done.sum() < 128
    assert not views.exists()
    assert run(make_views, f"out={copy}") == 0
    # On one machine the bytes are those of an uninterrupted run.
    (original,) = artifacts(chain, "views")
    for name in ("images.npy", "distances.npy", "steps.npy"):
        assert (views / name).read_bytes() == (original / name).read_bytes()
