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
SHARED, APART = pycolmap.CameraMode.PER_FOLDER, pycolmap.CameraMode.PER_IMAGE
WAYS = {
    "shared cameras": (SHARED, {}, None),
    "shared cameras, relaxed": (SHARED, RELAXED, None),
    "relaxed": (APART, RELAXED, None),
    "long lens": (SHARED, RELAXED, 1.2),
    "wide lens": (SHARED, RELAXED, 0.8),
}
"""What photos share a camera, the mapper's options, and the focal length over the longer side if
it must be held: who walks straight ahead cannot tell it from the photos."""
USUAL_FOCAL = (0.45, 3.0)
"""Focal lengths over the longer side that are believed if they were found."""


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
                first, second = names
                database.write_matches(ids[first], ids[second], given[key].astype(np.uint32))
    options = pycolmap.TwoViewGeometryOptions(min_num_inliers=12)
    options.ransac.random_seed = 0
    verifier = pycolmap.GeometricVerifierOptions(num_threads=1)
    pycolmap.geometric_verification(path, verifier, two_view_geometry_options=options)


def hold_focal(path: Path, focal: float) -> None:
    """Give all cameras one focal length, over their longer side."""
    with pycolmap.Database.open(path) as database:
        for camera in database.read_all_cameras():
            camera.params = [focal * max(camera.width, camera.height), *camera.params[1:]]
            camera.has_prior_focal_length = True
            database.update_camera(camera)


def map_photos(database: Path, images: Path, mapper: dict, focal: float | None) -> list[dict]:
    """Run the incremental mapper; return what it found."""
    if focal:
        hold_focal(database, focal)
    options = pycolmap.IncrementalPipelineOptions(
        min_model_size=2,
        max_num_models=2,
        min_num_matches=12,
        init_num_trials=200 if mapper else 20,
        num_threads=1,
        random_seed=0,
        extract_colors=False,
        min_focal_length_ratio=USUAL_FOCAL[0],
        max_focal_length_ratio=USUAL_FOCAL[1],
        ba_refine_focal_length=focal is None,
        ba_refine_extra_params=focal is None,
    )
    options.mapper.abs_pose_refine_focal_length = focal is None
    options.mapper.abs_pose_refine_extra_params = focal is None
    for name, value in mapper.items():
        setattr(options.mapper, name, value)
    models = pycolmap.incremental_mapping(database, images, database.parent, options=options)
    return [describe(model) for model in models.values()]


def main() -> None:
    """Map the photos in one way after another, until one ties all of them."""
    folder = Path(sys.argv[1])
    pycolmap.logging.minloglevel = 3
    pycolmap.set_random_seed(0)
    photos = list((folder / "images").glob("*/*.jpg"))
    all_apart = len({photo.parent for photo in photos}) == len(photos)
    found = {}
    for name, (mode, mapper, focal) in WAYS.items():
        if all_apart and mode == APART:
            continue  # the same as what was tried
        database = folder / f"{mode.name}.db"
        if not database.exists():
            fill_database(database, folder / "images", mode)
        found[name] = map_photos(database, folder / "images", mapper, focal)
        if focal is None and any(len(model) == len(photos) for model in found[name]):
            break
    (folder / "models.json").write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main()
