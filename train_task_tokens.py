"""Learn a task on a frozen base: tokens that stand for a prompt, or LoRA layers.

accelerate launch train_task_tokens.py --task reference --train_data_dir PHOTOS --output_dir TOKENS

Its flags are in `realfill/commands/tokens.py`.
"""

from realfill.command_line import run
from realfill.commands.tokens import main

if __name__ == "__main__":
    run(main)
