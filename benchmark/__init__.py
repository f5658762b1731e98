"""Scoring completions: one small file a metric over the common base in `benchmark.base`.

`benchmarks.py` scores a results directory with them. Each also runs alone:

python -m benchmark.psnr --gt_path gt.png --mask_path mask.png --results_dir results
"""
