"""Complete a photo from its references: geometry, then exemplars or a trained model.

python infer.py --scene SCENE --output_dir RESULTS
accelerate launch infer.py --model_path OUTPUT --scene SCENE --output_dir RESULTS

Its flags are in `realfill/commands/complete.py`; as `realfill complete` it comes with the package.
"""

from realfill.command_line import run
from realfill.commands.complete import main

if __name__ == "__main__":
    run(main)
