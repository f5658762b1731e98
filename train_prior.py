"""Train the aligner of a reconstruction prior, for a base, from any folder of photos.

python train_prior.py --photos PHOTOS --base BASE --output_dir PRIOR --max_minutes 60

`infer.py --prior PRIOR` completes with it. The flags are in `realfill/commands/train_prior.py`.
"""

from realfill.command_line import run
from realfill.commands.train_prior import main

if __name__ == "__main__":
    run(main)
