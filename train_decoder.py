"""Train a decoder that sees the known pixels, for a base, from any folder of photos.

python train_decoder.py --photos PHOTOS --base BASE --output_dir DECODER --max_minutes 60

`infer.py --decoder DECODER` completes with it. The flags are in
`realfill/commands/train_decoder.py`.
"""

from realfill.command_line import run
from realfill.commands.train_decoder import main

if __name__ == "__main__":
    run(main)
