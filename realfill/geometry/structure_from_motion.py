"""Cameras of a folder of photos by pycolmap, in a process of its own.

python -m realfill.geometry.structure_from_motion FOLDER

Reads FOLDER/images/*.jpg and FOLDER/masks/*.jpg.png (black is not looked at), writes
FOLDER/models.json. pycolmap and Pillow bring their own copies of the same image libraries, which
crash in one process in some builds; so nothing else is imported here.
"""

import json
import sys
from pathlib import Path

import pycolmap

FEATURES = 4096
"""Features a photo at most; the mapper needs a few hundred matches."""


def describe(reconstruction: pycolmap.Reconstruction) -> dict:
    """Return the cameras of a model, and the depths of the points that each photo sees."""
    photos = {}
    for image in reconstruction.images.values():
        if not image.has_pose:
            continue
        pose, camera = image.cam_from_world(), reconstruction.cameras[image.camera_id]
        focal, center_x, center_y, radial = camera.params
        points = [
            (pose * reconstruction.points3D[point.point3D_id].xyz)[2]
            for point in image.points2D
            if point.has_point3D()
        ]
        photos[image.name] = {
            "focal": focal,
            "center": [center_x, center_y],
            "radial": radial,
            "rotation": pose.rotation.matrix().tolist(),
            "translation": pose.translation.tolist(),
            "depths": sorted(points),
        }
    return photos


def main() -> None:
    """Match all photos with each other and map them."""
    folder = Path(sys.argv[1])
    pycolmap.logging.minloglevel = 3
    pycolmap.set_random_seed(0)
    database = folder / "database.db"
    extraction = pycolmap.FeatureExtractionOptions(use_gpu=False)
    extraction.sift.max_num_features = FEATURES
    pycolmap.extract_features(
        database,
        folder / "images",
        camera_mode=pycolmap.CameraMode.PER_IMAGE,
        reader_options=pycolmap.ImageReaderOptions(mask_path=folder / "masks"),
        extraction_options=extraction,
    )
    pycolmap.match_exhaustive(
        database, matching_options=pycolmap.FeatureMatchingOptions(use_gpu=False)
    )
    models = pycolmap.incremental_mapping(
        database,
        folder / "images",
        folder,
        options=pycolmap.IncrementalPipelineOptions(
            min_model_size=3, max_num_models=2, init_num_trials=20, num_threads=1
        ),
    )
    described = [describe(model) for model in models.values()]
    (folder / "models.json").write_text(json.dumps(described), "utf-8")


if __name__ == "__main__":
    main()
