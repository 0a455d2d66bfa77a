"""`vaultstream completion`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script

from vaultstream_cli.output import print_file
from vaultstream_cli.root import COMPLETE_VARIABLE, app


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_HELP = """Print the script with which a shell completes commands and options.

\b
bash: source <(vaultstream completion bash), in ~/.bashrc
zsh:  source <(vaultstream completion zsh), in ~/.zshrc after compinit
fish: vaultstream completion fish > ~/.config/fish/completions/vaultstream.fish
"""


@app.command("completion", help=_HELP)
def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell.")],
) -> None:
    """Print the script of a shell, with the words that it asks this command for."""
    script = get_completion_script(prog_name="vaultstream", complete_var=COMPLETE_VARIABLE, shell=shell)
    print_file(script + "\n")
