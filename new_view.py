"""Paint a place as it looks from where no photo was taken.

python new_view.py --image PHOTO --turn 20 0 --model_path BASE --task_tokens TOKENS --output_dir OUT

Its flags are in `realfill/commands/new_view.py`.
"""

from realfill.command_line import run
from realfill.commands.new_view import main

if __name__ == "__main__":
    run(main)
