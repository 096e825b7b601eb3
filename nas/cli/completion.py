"""Print a script by which the shell completes commands, options and fields of the configuration.

  eval "$(vipnas completion bash)"      # now; in ~/.bashrc for always
  eval "$(vipnas completion zsh)"       # after compinit, in ~/.zshrc

Words that are no options are completed as files.
"""

from __future__ import annotations

import argparse
import importlib

from nas.cli.commands import COMMANDS, Command
from nas.cli.parsing import Parser, make_parser

__all__ = ["add_arguments", "completion_script", "options_of", "run"]

ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
SCRIPT = """\
_vipnas() {
  local current="${COMP_WORDS[COMP_CWORD]}" first="${COMP_WORDS[1]}" command words=""
  local fields="@FIELDS@"
  command="$first"
  case " @PAIRS@ " in *" $first+${COMP_WORDS[2]} "*) command="$first ${COMP_WORDS[2]}" ;; esac
  if [ "$COMP_CWORD" -eq 1 ]; then
    words="@FIRSTS@"
  elif [ "$COMP_CWORD" -eq 2 ] && [ "${current#-}" = "$current" ]; then
    case "$first" in
@GROUPS@
    esac
  fi
  case "$current" in
    -*) case "$command" in
@COMMANDS@
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _vipnas vipnas
"""


def add_arguments(parser: Parser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh"), help="whose script to print")


def run(arguments: argparse.Namespace) -> int:
    print(completion_script(arguments.shell), end="")
    return 0


def completion_script(shell: str) -> str:
    """The script for ``bash``, or for ``zsh``, which reads bash's."""
    from nas.config import config_docs

    pairs = [command.name.split() for command in COMMANDS if " " in command.name]
    groups: dict[str, list[str]] = {}
    for first, second in pairs:
        groups.setdefault(first, []).append(second)
    filled = {
        "@FIELDS@": " ".join(f"--{doc.dotted}" for doc in config_docs()),
        "@PAIRS@": " ".join("+".join(pair) for pair in pairs),
        "@FIRSTS@": " ".join(dict.fromkeys(command.name.split()[0] for command in COMMANDS)),
        "@GROUPS@": "\n".join(f'      {first}) words="{" ".join(inner)}" ;;' for first, inner in groups.items()),
        "@COMMANDS@": "\n".join(f'      "{command.name}") words="{_words(command)}" ;;' for command in COMMANDS),
    }
    text = SCRIPT
    for mark, words in filled.items():
        text = text.replace(mark, words)
    return (ZSH if shell == "zsh" else "") + text


def options_of(command: Command) -> tuple[list[str], bool]:
    """A command's long options, and whether it takes fields of the configuration."""
    parser = make_parser(command, importlib.import_module(f"nas.cli.{command.module}"))
    options = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
    return options, parser.takes_overrides


def _words(command: Command) -> str:
    options, takes_fields = options_of(command)
    return " ".join((*options, *(("$fields",) if takes_fields else ())))
