"""The GPU pack: everything that is to be measured on one NVIDIA GPU, from an archive of images alone.

python benchmarks/gpu/pack.py --piece 0 1 --archive cifar10.tar.xz --wheels wheels --work /tmp/pack --out results
python benchmarks/gpu/pack.py --piece 2   --archive cifar10.tar.xz --wheels wheels --work /tmp/pack --out results
python benchmarks/gpu/pack.py --piece 3   --archive cifar10.tar.xz --wheels wheels --work /tmp/pack --out results
python benchmarks/gpu/pack.py --piece 0 1 2 3 --rehearse --archive …     the same at toy size on a CPU, two minutes

0 prepares, 1 measures, 2 trains dkobak's 100 epochs, 3 makes a short Table 3. A call takes at most --minutes and all
calls together --total-minutes; a call that was cut goes on when it is made again. Exit codes: 0 done, 3 cut, 1 failed.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from context import CommandFailed, Context, Launch, TimeIsUp, launch
from pieces import PIECES
from results import publish
from wheels import unpack_wheels

LEDGER = "ledger.jsonl"
PREPARED = "prepared"
CUT = 3


def main(argv: Sequence[str] | None = None, *, launch: Launch = launch) -> int:
    """Run the chosen pieces in order, within the time.

    Args:
        argv: the command line.
        launch: runs a command of a piece.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--piece", type=int, nargs="+", required=True, choices=range(len(PIECES)))
    parser.add_argument(
        "--archive", type=Path, required=True, help="a tar of train/<class>/*.jpg and test/<class>/*.jpg"
    )
    parser.add_argument("--wheels", type=Path, help="folder of wheels that this machine lacks (hydra-core and its two)")
    parser.add_argument("--out", type=Path, required=True, help="receives the small files: lines, tables, pictures")
    parser.add_argument("--work", type=Path, help="keeps what later calls go on from; default: OUT/work")
    parser.add_argument("--minutes", type=float, default=9.0, help="of this call")
    parser.add_argument("--total-minutes", type=float, default=25.0, help="of all calls with this --work together")
    parser.add_argument("--commit", help="of this checkout, where it was copied without .git")
    parser.add_argument("--seeds", default="0", help="of the rows of Table 3, e.g. 0,1,2")
    parser.add_argument("--set", dest="overrides", nargs="*", default=[], metavar="key=value", help="for every command")
    parser.add_argument("--rehearse", action="store_true", help="toy sizes on the CPU; no limit to the total")
    arguments = parser.parse_args(argv)
    if not arguments.archive.is_file():
        parser.error(f"--archive={arguments.archive}: there is no such file")
    if arguments.wheels is not None and not arguments.wheels.is_dir():
        parser.error(f"--wheels={arguments.wheels}: there is no such folder")
    if wrong := [word for word in arguments.overrides if "=" not in word]:
        parser.error(f"--set {wrong[0]}: a key=value is needed")
    out = arguments.out.resolve()
    work = (arguments.work or out / "work").resolve()
    if arguments.rehearse:
        work = work / "rehearsal"
    work.mkdir(parents=True, exist_ok=True)
    spent = sum(json.loads(line)["seconds"] for line in _lines(work / LEDGER))
    seconds = 60 * arguments.minutes
    if not arguments.rehearse:
        seconds = min(seconds, 60 * arguments.total_minutes - spent)
    started = time.monotonic()
    context = Context(
        archive=arguments.archive.resolve(),
        wheels=None if arguments.wheels is None else arguments.wheels.resolve(),
        out=out,
        work=work,
        rehearse=arguments.rehearse,
        deadline=started + seconds,
        commit=arguments.commit,
        overrides=tuple(arguments.overrides),
        seeds=tuple(int(seed) for seed in arguments.seeds.split(",")),
        launch=launch,
    )
    print(f"pack: {seconds / 60:.1f} minutes for this call, {spent / 60:.1f} spent before; work in {work}", flush=True)
    try:
        return _run(context, arguments.piece)
    finally:
        line = {"pieces": arguments.piece, "seconds": round(time.monotonic() - started, 1)}
        with (work / LEDGER).open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        publish(work, out, commit=arguments.commit)
        print(f"pack: {line['seconds']:.0f} s; results in {out}", flush=True)


def _run(context: Context, pieces: Sequence[int]) -> int:
    failed, prepared = False, context.work / PREPARED
    described = " ".join([str(context.archive), *context.overrides])
    if prepared.is_file() and prepared.read_text() == described:
        unpack_wheels(context.wheels, context.site)
    else:
        pieces = [0, *pieces]
    for piece in sorted(set(pieces)):
        begun = time.monotonic()
        try:
            PIECES[piece](context)
            print(f"pack: piece {piece} is done ({time.monotonic() - begun:.0f} s)", flush=True)
        except TimeIsUp as cut:
            print(f"pack: piece {piece} was cut: {cut}. The same command goes on from here.", flush=True)
            return CUT
        except (CommandFailed, ValueError) as error:
            print(f"pack: piece {piece} failed: {error}", file=sys.stderr, flush=True)
            if piece == 0:
                return 1
            failed = True  # the others do not depend on it
        if piece == 0:
            prepared.write_text(described)
        publish(context.work, context.out, commit=context.commit)
    return 1 if failed else 0


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


if __name__ == "__main__":
    sys.exit(main())
