"""Rank completions by their correspondences with the references; add the best to the references.

accelerate launch loftr_ranking.py --source_dir RESULTS --scene SCENE --rank_only

Its flags are in `realfill/commands/rank.py`; as `realfill rank` it comes with the package.
"""

from realfill.command_line import run
from realfill.commands.rank import main

if __name__ == "__main__":
    run(main)
