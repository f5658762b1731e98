"""From a scene to finished pictures: geometry, what fills the rest, what is written down."""
