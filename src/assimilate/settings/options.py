"""Names that the rooms accept, for checks that must not import torch; a test compares them with the rooms' own."""

TRANSFORMS = ("flip", "weak_crop", "crop50", "crop70", "crop90", "basic", "expert", "none")
LOSSES = ("infonce", "ntxent", "full", "simsiam", "viewmaker")
OPTIMIZERS = ("sgd", "adam")
# Which settings of `optimizer` each schedule reads, beside lr.
SCHEDULES = {
    "cosine_with_warmup": ("warmup_epochs",),
    "supcontrast": ("warmup_epochs", "warmup_from", "final"),
    "cosine_per_epoch": (),
    "multistep": ("warmup_steps", "milestones", "gamma"),
    "constant": (),
}
BACKBONES = ("resnet18", "resnet34", "resnet50")
STEMS = ("cifar", "cifar_maxpool", "imagenet")
INITIALIZATIONS = ("fan_out", "default_stem", "default")
PROJECTORS = ("essl", "simsiam", "supcontrast", "htdt", "dkobak", "clsp", "linear", "none")
ANALYSES = ("pairs", "distances", "tsne", "grid", "curves", "alignment_uniformity")
