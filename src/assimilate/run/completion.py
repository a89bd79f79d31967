"""Completion of the command line in a shell: a script with every stage, option, key and row in it, so no Python starts.

bash breaks words at "=" and ":"; the script reads the whole line instead and gives back what stands behind the last of
them.
"""

from collections.abc import Sequence

from assimilate.run.composing import rows_of, table_groups
from assimilate.run.explained import groups, keys, options
from assimilate.run.help_pages import FLAGS

BASH = """_assimilate() {
    local line=${COMP_LINE:0:COMP_POINT} word stage before
    word=${line##*[[:space:]]}
    COMPREPLY=()
    local words=(@WORDS@)
    local stages=(@STAGES@)
    before=${line%"$word"}
    if [[ $before =~ ^[^[:space:]]*assimilate[[:space:]]+$ ]]; then
        words=("${stages[@]}" --help --version --completion)
    fi
    local candidate lead=""
    if [[ $word == *[=:]* && $COMP_WORDBREAKS == *=* ]]; then lead=${word%"${word##*[=:]}"}; fi
    for candidate in "${words[@]}"; do
        [[ $candidate == "$word"* ]] && COMPREPLY+=("${candidate#"$lead"}")
    done
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi
}
complete -F _assimilate assimilate
"""
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def words() -> list[str]:
    """What may be completed behind a stage: options, keys, rows and flags."""
    found = [f"{group}={option}" for group in groups() for option in options(group)]
    found += [f"{key}=" for key in keys()]
    found += [f"+{table}={row}" for table in table_groups() for row in rows_of(table)]
    return [*found, *(flag.split()[0] for flag in FLAGS), "--help"]


def script(shell: str, stages: Sequence[str]) -> str:
    """The script for a shell, to be read by `eval`.

    Args:
        shell: "bash" or "zsh".
        stages: what may stand behind the command.
    """
    made = BASH.replace("@WORDS@", " ".join(words())).replace("@STAGES@", " ".join(stages))
    return ZSH + made if shell == "zsh" else made
