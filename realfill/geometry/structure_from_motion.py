"""Cameras of a folder of photos by pycolmap, in a process of its own.

python -I structure_from_motion.py FOLDER

Reads FOLDER/images/GROUP/*.jpg, where the photos of a group share a camera, and FOLDER/matches.npz
(`points_NAME` and `matches_NAME_NAME`); writes FOLDER/models.json: for each way of mapping the
models that it found. pycolmap and Pillow bring their own copies of the same image libraries, which
crash in one process in some builds; so nothing of the project is imported here.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pycolmap

RELAXED = {
    "init_min_num_inliers": 30,
    "init_min_tri_angle": 2.0,
    "init_max_forward_motion": 0.999,
    "abs_pose_min_num_inliers": 15,
    "abs_pose_min_inlier_ratio": 0.12,
}
"""Options of the mapper for few matches, small baselines, and motion along the line of sight."""
WAYS = {
    "shared cameras": (pycolmap.CameraMode.PER_FOLDER, {}),
    "shared cameras, relaxed": (pycolmap.CameraMode.PER_FOLDER, RELAXED),
    "relaxed": (pycolmap.CameraMode.PER_IMAGE, RELAXED),
}


def describe(reconstruction: pycolmap.Reconstruction) -> dict:
    """Return the cameras of a model, and the points that each photo sees, in the world."""
    photos = {}
    for image in reconstruction.images.values():
        if not image.has_pose:
            continue
        pose, camera = image.cam_from_world(), reconstruction.cameras[image.camera_id]
        focal, center_x, center_y, radial = camera.params
        points = [
            reconstruction.points3D[point.point3D_id].xyz.tolist()
            for point in image.points2D
            if point.has_point3D()
        ]
        photos[Path(image.name).stem] = {
            "focal": focal,
            "center": [center_x, center_y],
            "radial": radial,
            "rotation": pose.rotation.matrix().tolist(),
            "translation": pose.translation.tolist(),
            "points": sorted(points),
        }
    return photos


def fill_database(path: Path, images: Path, mode: pycolmap.CameraMode) -> None:
    """Put the photos, their keypoints and their matches into a database, and verify the matches."""
    pycolmap.Database.open(path).close()
    pycolmap.import_images(path, images, mode)
    given = np.load(path.parent / "matches.npz")
    with pycolmap.Database.open(path) as database:
        ids = {Path(image.name).stem: image.image_id for image in database.read_all_images()}
        for key in sorted(given.files):
            kind, *names = key.split("_")
            if kind == "points":
                database.write_keypoints(ids[names[0]], given[key].astype(np.float32))
            elif len(given[key]):
                database.write_matches(*(ids[name] for name in names), given[key].astype(np.uint32))
    options = pycolmap.TwoViewGeometryOptions(min_num_inliers=12)
    options.ransac.random_seed = 0
    verifier = pycolmap.GeometricVerifierOptions(num_threads=1)
    pycolmap.geometric_verification(path, verifier, two_view_geometry_options=options)


def map_photos(database: Path, images: Path, mapper: dict) -> list[dict]:
    """Run the incremental mapper; return what it found."""
    options = pycolmap.IncrementalPipelineOptions(
        min_model_size=2,
        max_num_models=2,
        min_num_matches=12,
        init_num_trials=200 if mapper else 20,
        num_threads=1,
        random_seed=0,
        extract_colors=False,
    )
    for name, value in mapper.items():
        setattr(options.mapper, name, value)
    models = pycolmap.incremental_mapping(database, images, database.parent, options=options)
    return [describe(model) for model in models.values()]


def main() -> None:
    """Map the photos in all ways; one that ties all of them strictly is enough."""
    folder = Path(sys.argv[1])
    pycolmap.logging.minloglevel = 3
    pycolmap.set_random_seed(0)
    photos = list((folder / "images").glob("*/*.jpg"))
    all_apart = len({photo.parent for photo in photos}) == len(photos)
    found = {}
    for name, (mode, mapper) in WAYS.items():
        if all_apart and mode == pycolmap.CameraMode.PER_IMAGE:
            continue  # the same as what was tried
        database = folder / f"{mode.name}.db"
        if not database.exists():
            fill_database(database, folder / "images", mode)
        found[name] = map_photos(database, folder / "images", mapper)
        if any(len(model) == len(photos) for model in found[name]):
            break
    (folder / "models.json").write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main()
