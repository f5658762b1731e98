"""Adapt an inpainting base model to one scene with LoRA.

accelerate launch train_realfill.py --train_data_dir SCENE --output_dir OUTPUT

Its flags are in `realfill/commands/train.py`; as `realfill train` it comes with the package.
"""

from realfill.command_line import run
from realfill.commands.train import main

if __name__ == "__main__":
    run(main)
