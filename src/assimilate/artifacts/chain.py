"""The artifacts of a run: the steps of its recipe, each with a place on disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assimilate.artifacts.artifact import Artifact, artifact_root
from assimilate.data.dataset import Images
from assimilate.graph.step import Step
from assimilate.probes.step import Probe
from assimilate.run.baseline import probe_of_baseline
from assimilate.run.recipe import Recipe


@dataclass(frozen=True)
class Chain:
    """The artifacts of one run; None where the run has no use for one."""

    data: Artifact
    generator: Artifact | None
    latents: Artifact | None
    reference: Artifact | None  # the SimCLR encoder f
    calibration: Artifact | None
    views: Artifact | None
    evaluation: Artifact | None  # the data set that probes use, where it is not the run's own
    encoder: Artifact
    probe: Artifact | None
    reference_probe: Artifact | None
    floors: Mapping[str, Artifact]  # what the run's numbers are compared with; it is not made of them
    paired_with: Artifact | None  # the probe of the SimCLR run of the same images, recipe and seed; perhaps its own

    def upstream(self) -> list[Artifact]:
        """What must exist before the run's own training, in the order of building.

        A checkpoint that the user brings is read first: one that does not fit is to fail before the hours, not after.
        So is a generator that the images come from.
        """
        origins = [*self.data.parents.values(), self.data]
        steps = [self.generator, self.latents, self.reference, self.calibration, self.views, self.evaluation]
        present = [step for step in steps if step is not None]
        ordered = [*origins, *sorted(present, key=lambda artifact: not artifact.step.is_brought)]
        return list({artifact.label: artifact for artifact in ordered}.values())

    def all(self) -> list[Artifact]:
        """Everything, in the order of building; an artifact with two roles is named once."""
        return self.made_of(*self.floors.values())

    def made_of(self, *beside: Artifact) -> list[Artifact]:
        """What the run is made of, in the order of building."""
        steps = [*self.upstream(), *beside, self.reference_probe, self.encoder, self.probe]
        unique = {step.label: step for step in steps if step is not None}
        return list(unique.values())


def build_chain(
    config: Mapping[str, Any], out: Path, images: Images | None, *, probed: bool = True, measured: bool = False
) -> Chain:
    """All artifacts of a run.

    Args:
        config: the resolved configuration.
        out: where artifacts are kept.
        images: what is known of the prepared images; None before they are.
        probed: whether the stage goes as far as a probe; without one, the data set of the probe need not be there.
        measured: whether the stage looks at views through f, so that there is one whatever the views.

    Raises:
        UserError: a checkpoint that the user brings is not there, the data set that
            probes use is not there, or the inversion needs a discriminator that the generator does not bring.
    """
    recipe = Recipe(config, probed=probed) if images is None else Recipe(config, images, probed=probed)
    recipe.require()
    root, name = artifact_root(out), str(config["dataset"]["name"])

    def placed(step: Step | None) -> Artifact | None:
        return None if step is None else Artifact.of(step, name, root)

    def floors(probe: Probe | None) -> dict[str, Artifact]:
        steps = {} if probe is None else recipe.floors_of(probe)
        return {floor: Artifact.of(step, name, root) for floor, step in steps.items()}

    known = recipe.images
    data = Artifact.of(recipe.dataset, name, root)
    probing = known.labelled and known.has_test if images is not None else recipe.dataset.can_be_probed
    if config["checkpoint"] is not None:
        encoder = Artifact.of(recipe.given, name, root)
        given = recipe.probe_of(recipe.given) if probing else None
        return Chain(data, None, None, None, None, None, None, encoder, placed(given), None, floors(given), None)
    view = recipe.view
    made = {} if view is None else {**view.parents, **(view if view.is_stored else recipe.encoder).parents}
    uses_reference = any(step is recipe.reference for step in recipe.encoder.upstream()) if view is not None else False
    reference = recipe.reference if measured or uses_reference else None
    evaluation = recipe.evaluation
    probing = probing or evaluation is not None
    baseline = reference if reference is not None and not reference.is_brought else None
    probe = recipe.probe_of(recipe.encoder) if probing else None
    return Chain(
        data=data,
        generator=placed(made.get("generator")),
        latents=placed(made.get("latents")),
        reference=placed(reference),
        calibration=placed(made.get("calibration")),
        views=placed(view) if view is not None and view.is_stored else None,
        evaluation=None if evaluation is None else Artifact.of(evaluation, evaluation.name, root),
        encoder=Artifact.of(recipe.encoder, name, root),
        probe=placed(probe),
        reference_probe=placed(recipe.probe_of(baseline)) if probing and baseline is not None else None,
        floors=floors(probe),
        paired_with=placed(probe_of_baseline(recipe)) if probing else None,
    )
