"""`vaultstream completion`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script

from vaultstream_cli.app import COMPLETE_VARIABLE, app
from vaultstream_cli.output import print_file


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


@app.command("completion")
def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell.")],
) -> None:
    r"""Print the script with which a shell completes commands and options.

    \b
    bash: source <(vaultstream completion bash), in ~/.bashrc
    zsh:  source <(vaultstream completion zsh), in ~/.zshrc after compinit
    fish: vaultstream completion fish > ~/.config/fish/completions/vaultstream.fish
    """
    script = get_completion_script(prog_name="vaultstream", complete_var=COMPLETE_VARIABLE, shell=shell)
    print_file(script + "\n")
