"""Move a subject within a photo: remove it, paste it elsewhere, complete what was hidden of it.

python reposition.py --image PHOTO --mask SUBJECT --shift 200 0 --output_dir OUTPUT

Its flags are in `realfill/commands/reposition.py`.
"""

from realfill.command_line import run
from realfill.commands.reposition import main

if __name__ == "__main__":
    run(main)
