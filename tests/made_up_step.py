"""What an artifact knows of its step, for tests of the store."""

from assimilate.graph.identity import content_hash


class Thing:
    """What an artifact knows of its step."""

    stage, label = "train_generator", "thing"

    def __init__(self, content, parents=None, kind="generators", version=1):
        self.identity = {**content, "version": version}
        self.kind, self.seed = kind, content.get("seed")
        self.key = content_hash([self.identity, {role: parent.key for role, parent in (parents or {}).items()}])
