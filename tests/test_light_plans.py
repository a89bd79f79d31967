"""A plan, a refusal and the help of every stage are quick: none of them loads torch, or what draws figures."""

import subprocess
import sys

STAGES = (
    *("prepare_data", "train_generator", "invert", "calibrate", "make_views", "train", "evaluate", "analyze"),
    "report",  # last: it reads what is there, and there is nothing
)
CODE = """
import importlib, sys
from assimilate import cli
assert cli.main([]) == cli.main(["--version"]) == cli.main(["--completion", "zsh"]) == cli.main(["--help", "view"]) == 0
for stage in sys.argv[2:]:
    main = importlib.import_module(f"assimilate.{stage}").main
    if stage != "report":
        assert main(["prepare=plan", f"out={sys.argv[1]}"]) == 0, stage
    assert main(["epochs=many", f"out={sys.argv[1]}"]) == 2, stage
    assert main(["--help"]) == 0, stage
    loaded = {"torch", "matplotlib", "sklearn", "lightning"} & set(sys.modules)
    assert not loaded, (stage, loaded)
"""


def test_no_stage_loads_torch_to_plan_refuse_or_help(tmp_path):
    command = [sys.executable, "-c", CODE, str(tmp_path), *STAGES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]
